"""The only reader of the environment. Settings are built once, by `load_settings`, and passed.

environment, .env ─▶ tidied (app.setting_values) ─▶ Settings, or one line that says what to set (app.setting_errors)
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, SettingsConfigDict
from pydantic_settings.sources import PydanticBaseSettingsSource

from app.env_file import env_file, refuse_unreadable
from app.errors import SettingsError
from app.redis_keys import PREFIX_PATTERN
from app.setting_errors import explain, lacking, variables_of
from app.setting_values import (
    ApiKey,
    ApiKeys,
    BucketName,
    CollectorAddress,
    Hosts,
    LanguageCodes,
    ListeningHost,
    Networks,
    Origins,
    OwnPath,
    PicturesAddress,
    PriceRegions,
    Proxies,
    RegionName,
    Role,
    RootPath,
    ServiceAddress,
    StoreAddress,
    base_address,
    is_base_address,
    is_header_list,
    is_redis_address,
    redis_address,
    tidied,
)

__all__ = ["ApiKey", "Role", "Settings", "load_settings"]

ENV_FILE = ".env"


def _names(*names: str) -> AliasChoices:
    return AliasChoices(*names)


LONGEST_DAYS = 36_500
"""A hundred years, "for ever": PostgreSQL's times do not reach back over all that a number can say."""
DAY_S = 86_400
"""The longest wait, in seconds: what waits for longer is not waited for."""
MOST_BODY_BYTES = 2**30
"""What is read is held in memory, and PostgreSQL takes no longer value than this."""
MOST_PIXELS = 89_478_485
"""Pillow takes a larger picture for a bomb, whatever is set here."""
MOST_IN_A_ROW = 1_000
FASTEST_RPS, SLOWEST_RPS = 100_000, 0.01

JobTimeout = Annotated[int, Field(ge=1000, le=DAY_S * 1000)]
BodyBytes = Annotated[int, Field(ge=1024, le=MOST_BODY_BYTES)]


class Settings(BaseSettings):
    """Every setting, with its default. Each variable is documented in `.env.example`."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE, extra="ignore", frozen=True, populate_by_name=True, allow_inf_nan=False
    )

    database_url: SecretStr | None = None
    database_pool_size: Annotated[int, Field(ge=1, le=100)] = 10
    database_transaction_pooler: bool = False
    redis_url: SecretStr | None = None
    redis_prefix: str = ""

    promidata_base_url: SecretStr | None = None
    document_hosts: Hosts = ()
    price_regions: PriceRegions = ("BENELUX", "EURO")
    languages: LanguageCodes = ("nl", "de", "en", "fr")
    allow_private_addresses: Networks = ()

    s3_endpoint_url: StoreAddress | None = Field(None, validation_alias=_names("S3_ENDPOINT_URL", "R2_ENDPOINT"))
    s3_bucket: BucketName | None = Field(None, validation_alias=_names("S3_BUCKET", "R2_BUCKET_NAME"))
    s3_access_key_id: SecretStr | None = Field(None, validation_alias=_names("S3_ACCESS_KEY_ID", "R2_ACCESS_KEY_ID"))
    s3_secret_access_key: SecretStr | None = Field(
        None, validation_alias=_names("S3_SECRET_ACCESS_KEY", "R2_SECRET_ACCESS_KEY")
    )
    s3_region: RegionName = "auto"
    s3_public_url: PicturesAddress | None = Field(None, validation_alias=_names("S3_PUBLIC_URL", "R2_PUBLIC_URL"))

    data_dir: OwnPath = Path(".data")
    host: ListeningHost = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    api_keys: ApiKeys = ()
    forwarded_allow_ips: Proxies | None = None
    root_path: RootPath = ""
    public_url: ServiceAddress | None = None
    cors_origins: Origins = ()
    worker_probe_file: OwnPath | None = None
    metrics_host: ListeningHost = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    api_max_connections: Annotated[int, Field(ge=10, le=100_000)] = 1000
    keep_alive_s: Annotated[int, Field(ge=1, le=3600)] = 75
    demo: bool = True
    failpoint: str | None = Field(None, validation_alias=_names("PROMIDATA_FAILPOINT"))
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    access_log: bool = False
    otel_exporter_otlp_endpoint: CollectorAddress | None = None
    otel_exporter_otlp_headers: SecretStr | None = None
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = 1.0
    otel_service_name: str = "promidata-sync"

    concurrency_supplier: Annotated[int, Field(ge=1, le=64)] = 1
    concurrency_families: Annotated[int, Field(ge=1, le=256)] = Field(
        3, validation_alias=_names("CONCURRENCY_FAMILIES", "BULLMQ_CONCURRENCY_FAMILIES")
    )
    concurrency_images: Annotated[int, Field(ge=1, le=256)] = Field(
        10, validation_alias=_names("CONCURRENCY_IMAGES", "BULLMQ_CONCURRENCY_IMAGES")
    )
    workers_families: Annotated[int, Field(ge=1, le=64)] | None = None
    workers_images: Annotated[int, Field(ge=1, le=64)] | None = None
    workers_nice: Annotated[int, Field(ge=0, le=19)] = 5
    concurrency_documents: Annotated[int, Field(ge=1, le=64)] = 10
    job_timeout_supplier_ms: JobTimeout = Field(
        1_800_000, validation_alias=_names("JOB_TIMEOUT_SUPPLIER_MS", "BULLMQ_JOB_TIMEOUT_SUPPLIER")
    )
    job_timeout_family_ms: JobTimeout = Field(
        300_000, validation_alias=_names("JOB_TIMEOUT_FAMILY_MS", "BULLMQ_JOB_TIMEOUT_FAMILY")
    )
    job_timeout_image_ms: JobTimeout = Field(
        120_000, validation_alias=_names("JOB_TIMEOUT_IMAGE_MS", "BULLMQ_JOB_TIMEOUT_IMAGE")
    )
    job_max_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    retry_backoff_s: Annotated[float, Field(gt=0, le=300)] = 2.0
    shutdown_grace_s: Annotated[float, Field(gt=0, le=DAY_S)] = 10.0
    lease_s: Annotated[float, Field(ge=1, le=15)] = 10.0

    origin_max_concurrency: Annotated[int, Field(ge=1, le=1000)] = 40
    origin_max_rps: Annotated[float, Field(ge=SLOWEST_RPS, le=FASTEST_RPS)] | None = None
    connect_timeout_s: Annotated[float, Field(gt=0, le=DAY_S)] = 10.0
    first_byte_timeout_s: Annotated[float, Field(gt=0, le=DAY_S)] = 30.0
    document_timeout_s: Annotated[float, Field(gt=0, le=DAY_S)] = 120.0
    picture_timeout_s: Annotated[float, Field(gt=0, le=DAY_S)] = 60.0
    document_max_bytes: BodyBytes = 32 * 1024 * 1024
    manifest_max_bytes: BodyBytes = 32 * 1024 * 1024
    picture_max_bytes: BodyBytes = 20 * 1024 * 1024
    picture_max_pixels: Annotated[int, Field(ge=1, le=MOST_PIXELS)] = 50_000_000
    image_revalidate_days: Annotated[int, Field(ge=0, le=LONGEST_DAYS)] | None = None

    removal_guard_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    remove_after_runs: Annotated[int, Field(ge=1, le=MOST_IN_A_ROW)] = 1
    reread_share_a_day: Annotated[float, Field(ge=0, le=1)] = 0.0
    schedule_pause_after_failures: Annotated[int, Field(ge=1, le=MOST_IN_A_ROW)] = 10

    changes_retention_days: Annotated[float, Field(gt=0, le=LONGEST_DAYS)] = 90.0
    run_retention_days: Annotated[float, Field(gt=0, le=LONGEST_DAYS)] = 90.0
    job_retention_days: Annotated[float, Field(gt=0, le=LONGEST_DAYS)] = 14.0

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment before `.env`; a variable that is empty there does not hide one that is set elsewhere."""
        for source in (env_settings, dotenv_settings):
            if isinstance(source, EnvSettingsSource):
                source.env_vars = tidied(source.env_vars)
        return init_settings, env_settings, dotenv_settings

    @model_validator(mode="before")
    @classmethod
    def _tidy(cls, values: dict[str, Any]) -> dict[str, Any]:
        return tidied(values)

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_capitals(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("database_url", mode="after")
    @classmethod
    def _database(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        scheme, _, rest = value.get_secret_value().partition("://")
        if scheme not in {"postgres", "postgresql", "postgresql+asyncpg"}:
            raise ValueError("should begin with postgresql://, postgres:// or postgresql+asyncpg://")
        return SecretStr(f"postgresql+asyncpg://{rest}")

    @field_validator("redis_url", mode="after")
    @classmethod
    def _redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        if value.get_secret_value().partition("://")[0] not in {"redis", "rediss", "unix"}:
            raise ValueError("should begin with redis:// or rediss://")
        if not is_redis_address(value.get_secret_value()):
            raise ValueError(
                "should look like redis://user:password@host:6379/0; "
                "in user and password write @ as %40, : as %3A, / as %2F, ? as %3F and # as %23"
            )
        return SecretStr(redis_address(value.get_secret_value()))

    @field_validator("otel_exporter_otlp_headers", mode="after")
    @classmethod
    def _headers(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not is_header_list(value.get_secret_value()):
            raise ValueError("should be name=value,name=value, each URL-encoded: a blank in a value is %20")
        return value

    @field_validator("redis_prefix", mode="after")
    @classmethod
    def _prefix(cls, value: str) -> str:
        if not PREFIX_PATTERN.fullmatch(value):
            raise ValueError("should be at most 64 letters, digits and _ . : - / { }, such as shop-a:")
        return value

    @field_validator("promidata_base_url", mode="after")
    @classmethod
    def _base(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        if not is_base_address(value.get_secret_value()):
            raise ValueError(
                "should look like https://promi-dl.de/Profiles/Live/{profile-guid}, without user name, query and blanks"
            )
        return SecretStr(base_address(value.get_secret_value()))

    @model_validator(mode="after")
    def _whole_store(self) -> Self:
        pair = ("s3_access_key_id", "s3_secret_access_key")
        if self.s3_bucket is None:
            for name in ("s3_endpoint_url", *pair):
                if getattr(self, name) is not None:  # without a word pictures would go to a folder
                    raise lacking(name, "s3_bucket")
        else:
            somewhere = self.s3_endpoint_url is not None or self.s3_region != "auto"
            missing = [name for name in pair if getattr(self, name) is None]
            if missing or not somewhere:
                hint = "" if somewhere else " (S3_REGION in place of an endpoint for a bucket on AWS)"
                raise lacking("s3_bucket", *([] if somewhere else ["s3_endpoint_url"]), *missing, hint=hint)
        return self

    def refuse_open_door(self, host: str) -> None:
        """Refuse to serve on an address that others can reach while no key is configured (API.md, "Around it").

        Raises:
            SettingsError: which address it was, and what to set.
        """
        if not self.api_keys and not _is_loopback(host):
            raise SettingsError(
                f"HOST is {host}, which others can reach, and API_KEYS is empty: "
                "set API_KEYS=name:role:secret, or HOST=127.0.0.1"
            )

    @property
    def base_url(self) -> str:
        """The profile's base address without a trailing slash. It is a credential: mask it wherever it is shown.

        Raises:
            SettingsError: when PROMIDATA_BASE_URL is not set.
        """
        if self.promidata_base_url is None:
            raise SettingsError("PROMIDATA_BASE_URL is not set: set it to the profile's base address")
        return self.promidata_base_url.get_secret_value()


def load_settings() -> Settings:
    """Read the environment and `.env`.

    Raises:
        SettingsError: one line that names every variable that makes no sense, never the value of a secret.
    """
    file = env_file(Path(ENV_FILE))
    try:
        if file is not None:
            refuse_unreadable(file, _known_variables())
        return Settings(_env_file=file)
    except ValidationError as error:
        raise SettingsError(f"settings: {explain(error, Settings, _set_variables(file))}") from None
    except SettingsError as error:
        raise SettingsError(f"settings: {error}") from None
    except UnicodeDecodeError:
        raise SettingsError("settings: .env cannot be read: it should be text in UTF-8") from None
    except OSError as error:
        raise SettingsError(f"settings: {Path(ENV_FILE).absolute()} cannot be read: {error.strerror}") from None


def _set_variables(file: Path | None) -> set[str]:
    """The names of all variables that are set to something, in upper case; `file` is `.env`."""
    sources = (EnvSettingsSource(Settings), DotEnvSettingsSource(Settings, env_file=file))
    return {name.upper() for source in sources for name in tidied(source.env_vars)}


def _known_variables() -> set[str]:
    """The names of all variables that there are, in upper case."""
    return {variable for name, field in Settings.model_fields.items() for variable in variables_of(name, field)}


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
