"""The only reader of the environment. Settings are built once, by `load_settings`, and passed."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import SettingsError

Role = Literal["viewer", "operator", "admin"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _names(*names: str) -> AliasChoices:
    return AliasChoices(*names)


class Settings(BaseSettings):
    """Every setting, with its default. Each variable is documented in `.env.example`."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, populate_by_name=True)

    database_url: SecretStr | None = None
    database_pool_size: Annotated[int, Field(ge=1, le=100)] = 10
    database_transaction_pooler: bool = False
    redis_url: SecretStr | None = None

    promidata_base_url: SecretStr | None = None
    document_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    price_regions: Annotated[tuple[str, ...], NoDecode] = ("BENELUX", "EURO")
    languages: Annotated[tuple[str, ...], NoDecode] = ("nl", "de", "en", "fr")
    allow_private_addresses: Annotated[tuple[Network, ...], NoDecode] = ()

    s3_endpoint_url: str | None = Field(None, validation_alias=_names("S3_ENDPOINT_URL", "R2_ENDPOINT"))
    s3_bucket: str | None = Field(None, validation_alias=_names("S3_BUCKET", "R2_BUCKET_NAME"))
    s3_access_key_id: SecretStr | None = Field(None, validation_alias=_names("S3_ACCESS_KEY_ID", "R2_ACCESS_KEY_ID"))
    s3_secret_access_key: SecretStr | None = Field(
        None, validation_alias=_names("S3_SECRET_ACCESS_KEY", "R2_SECRET_ACCESS_KEY")
    )
    s3_region: str = "auto"
    s3_public_url: str | None = Field(None, validation_alias=_names("S3_PUBLIC_URL", "R2_PUBLIC_URL"))

    data_dir: Path = Path(".data")
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    api_keys: Annotated[tuple[ApiKey, ...], NoDecode] = ()
    forwarded_allow_ips: str | None = None
    worker_probe_file: Path | None = None
    demo: bool = True
    failpoint: str | None = Field(None, validation_alias=_names("PROMIDATA_FAILPOINT"))
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    concurrency_supplier: Annotated[int, Field(ge=1, le=64)] = 1
    concurrency_families: Annotated[int, Field(ge=1, le=256)] = Field(
        3, validation_alias=_names("CONCURRENCY_FAMILIES", "BULLMQ_CONCURRENCY_FAMILIES")
    )
    concurrency_images: Annotated[int, Field(ge=1, le=256)] = Field(
        10, validation_alias=_names("CONCURRENCY_IMAGES", "BULLMQ_CONCURRENCY_IMAGES")
    )
    concurrency_documents: Annotated[int, Field(ge=1, le=64)] = 10
    job_timeout_supplier_ms: Annotated[int, Field(ge=1000)] = Field(
        1_800_000, validation_alias=_names("JOB_TIMEOUT_SUPPLIER_MS", "BULLMQ_JOB_TIMEOUT_SUPPLIER")
    )
    job_timeout_family_ms: Annotated[int, Field(ge=1000)] = Field(
        300_000, validation_alias=_names("JOB_TIMEOUT_FAMILY_MS", "BULLMQ_JOB_TIMEOUT_FAMILY")
    )
    job_timeout_image_ms: Annotated[int, Field(ge=1000)] = Field(
        120_000, validation_alias=_names("JOB_TIMEOUT_IMAGE_MS", "BULLMQ_JOB_TIMEOUT_IMAGE")
    )
    job_max_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    retry_backoff_s: Annotated[float, Field(gt=0, le=300)] = 2.0
    shutdown_grace_s: Annotated[float, Field(gt=0)] = 10.0
    lease_s: Annotated[float, Field(ge=1, le=15)] = 10.0

    origin_max_concurrency: Annotated[int, Field(ge=1, le=1000)] = 40
    origin_max_rps: Annotated[float, Field(gt=0)] | None = None
    connect_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    first_byte_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    document_timeout_s: Annotated[float, Field(gt=0)] = 120.0
    picture_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    document_max_bytes: Annotated[int, Field(ge=1024)] = 32 * 1024 * 1024
    manifest_max_bytes: Annotated[int, Field(ge=1024)] = 32 * 1024 * 1024
    picture_max_bytes: Annotated[int, Field(ge=1024)] = 20 * 1024 * 1024
    picture_max_pixels: Annotated[int, Field(ge=1)] = 50_000_000
    image_revalidate_days: Annotated[int, Field(ge=0)] | None = None

    removal_guard_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    remove_after_runs: Annotated[int, Field(ge=1)] = 1
    reread_share_a_day: Annotated[float, Field(ge=0, le=1)] = 0.0
    schedule_pause_after_failures: Annotated[int, Field(ge=1)] = 10

    changes_retention_days: Annotated[float, Field(gt=0)] = 90.0
    run_retention_days: Annotated[float, Field(gt=0)] = 90.0
    job_retention_days: Annotated[float, Field(gt=0)] = 14.0

    @field_validator("document_hosts", "price_regions", "languages", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _comma_list(value) if isinstance(value, str) else value

    @field_validator("allow_private_addresses", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(ipaddress.ip_network(part, strict=False) for part in _comma_list(value))

    @field_validator("api_keys", mode="before")
    @classmethod
    def _keys(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(ApiKey.parse(part) for part in _comma_list(value))

    @field_validator("database_url", mode="after")
    @classmethod
    def _database(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        scheme, _, rest = value.get_secret_value().partition("://")
        if scheme not in {"postgres", "postgresql", "postgresql+asyncpg"}:
            raise ValueError("should begin with postgresql://, postgres:// or postgresql+asyncpg://")
        return SecretStr(f"postgresql+asyncpg://{rest}")

    @field_validator("redis_url", mode="after")
    @classmethod
    def _redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        if urlsplit(value.get_secret_value()).scheme not in {"redis", "rediss", "unix"}:
            raise ValueError("should begin with redis:// or rediss://")
        return value

    @field_validator("promidata_base_url", mode="after")
    @classmethod
    def _base(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        parts = urlsplit(value.get_secret_value())
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("should look like https://promi-dl.de/Profiles/Live/{profile-guid}")
        return SecretStr(value.get_secret_value().rstrip("/"))

    @field_validator("s3_endpoint_url", "s3_bucket", "s3_public_url", "worker_probe_file", mode="before")
    @classmethod
    def _empty_is_absent(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _whole_store(self) -> Self:
        if self.s3_bucket and not (self.s3_access_key_id and self.s3_secret_access_key):
            raise ValueError("S3_BUCKET is set, so S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY are needed too")
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


class ApiKey(BaseModel):
    """A caller's key: `name:role:secret`."""

    model_config = ConfigDict(frozen=True)

    name: str
    role: Role
    secret: SecretStr

    @classmethod
    def parse(cls, text: str) -> ApiKey:
        """Read `name:role:secret`; the secret may hold colons."""
        name, _, rest = text.partition(":")
        role, _, secret = rest.partition(":")
        if not name or role not in {"viewer", "operator", "admin"} or not secret:
            raise ValueError("should be name:role:secret, with role one of viewer, operator, admin")
        return cls.model_validate({"name": name, "role": role, "secret": secret})


def load_settings() -> Settings:
    """Read the environment and `.env`.

    Raises:
        SettingsError: one message that names every variable that makes no sense, never its value.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [_explain(part["loc"], part["msg"]) for part in error.errors(include_input=False)]
        raise SettingsError("settings: " + "; ".join(lines)) from None
    except ValueError as error:
        raise SettingsError(f"settings: {error}") from None


def _explain(location: tuple[int | str, ...], message: str) -> str:
    name = str(location[0]).upper() if location else ""
    text = message.removeprefix("Value error, ")
    return f"{name}: {text}" if name else text


def _comma_list(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


Settings.model_rebuild()
