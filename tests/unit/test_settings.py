"""Settings as secrets and env files hold them, and what is said of those that make no sense."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from app import setting_errors, setting_values
from app.errors import SettingsError
from app.settings import Settings, load_settings
from tests.support.command_line import command, environment
from tests.support.without_rights import without_rights

SECRET = "s3cr3t-of-16-chars-and-more"
BUCKET = {"S3_BUCKET": "b", "S3_ENDPOINT_URL": "https://s3.example", "S3_ACCESS_KEY_ID": "id"}
OF_R2 = {"R2_BUCKET_NAME": "b", "R2_ENDPOINT": "https://r2.example", "R2_ACCESS_KEY_ID": "id"}
ADDRESS = "should be an address such as {}, without user name and query"
AWS = " (S3_REGION in place of an endpoint for a bucket on AWS)"
BASE_ADDRESS = (
    "PROMIDATA_BASE_URL: should look like https://promi-dl.de/Profiles/Live/{profile-guid}, "
    "without user name, query and blanks"
)
REDIS_ADDRESS = (
    "REDIS_URL: should look like redis://user:password@host:6379/0; "
    "in user and password write @ as %40, : as %3A, / as %2F, ? as %3F and # as %23"
)
COUNT = "should be a whole number from 1 to 256"
KEY = "should be name:role:secret, with role one of viewer, operator, admin"
HOSTS = "should be hosts such as documents.example.com or documents.example.com:8443, without scheme"
NETWORKS = "should be networks such as 10.0.0.0/8, separated by commas"
LANGUAGES = "should be the feed's codes of languages such as nl,de,en,fr, the preferred one first"
NAME = "should be the name of a bucket alone, such as pictures: letters, digits and . _ -"
REGION = "should be a region such as eu-central-1, of letters, digits and -"
ORIGINS = "should be origins such as https://shop.example.com, separated by commas; * is not possible"
PROXIES = "should be addresses or networks of proxies, separated by commas, or *"
REGIONS = "should be regions of the feed's prices such as BENELUX,EURO, the preferred one first"
TAKEN = "ROOT_PATH: should be a path such as /promi: {} is what probes and the like ask for without a prefix"
SHORT = "the secret of key 1 should have 16 characters or more: `openssl rand -hex 32` gives a good one"
NO_ASCII = "the secret of key 1 should have letters, digits and signs of ASCII alone"
HOMELESS = "it begins with the home of a user that is not known here"
ROOT = Path(__file__).parents[2]
Load = Callable[[dict[str, str]], Settings]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """Loads the settings from these variables alone."""
    kept = environment()
    monkeypatch.chdir(tmp_path)

    def loaded(given: dict[str, str]) -> Settings:
        for name in set(os.environ) - set(kept) - {"PYTEST_CURRENT_TEST"}:
            monkeypatch.delenv(name)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        return load_settings()

    return loaded


def said(load: Load, given: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as refused:
        load(given)
    message = str(refused.value)
    assert "\n" not in message
    assert "Input should" not in message
    return message


@pytest.mark.parametrize("module", [setting_errors, setting_values])
def test_the_examples_in_docstrings_hold(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", "  {}\t", '"{}"', "'{}'", '"{}"\n', ' " {} " ', "\n{}"])
def test_what_secrets_add_around_a_value_is_cut(load: Load, around: str) -> None:
    given = {
        "DATABASE_URL": "postgresql://u:p@db/promidata",
        "REDIS_URL": "redis://:p@cache/0",
        "PROMIDATA_BASE_URL": "https://promi-dl.de/Profiles/Live/x",
        **BUCKET,
        "S3_SECRET_ACCESS_KEY": SECRET,
        "API_KEYS": f"reader:viewer:{SECRET}",
        "PORT": "8123",
        "RETRY_BACKOFF_S": "1.5",
        "DEMO": "false",
        "LOG_LEVEL": "debug",
        "DATA_DIR": "/var/lib/promidata",
        "LANGUAGES": "de,en",
        "ALLOW_PRIVATE_ADDRESSES": "10.0.0.0/8",
        "IMAGE_REVALIDATE_DAYS": "3",
        "ROOT_PATH": "/promi",
        "PUBLIC_URL": "https://shop.example/promi",
    }
    assert load({name: around.format(value) for name, value in given.items()}) == load(given)


def test_what_env_files_add_around_a_value_is_cut(load: Load, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f'PORT=" 8123 "\r\nAPI_KEYS=" reader:viewer:{SECRET} "\r\nREDIS_URL=\'\'\r\n')
    settings = load({})
    assert (settings.port, settings.redis_url) == (8123, None)
    assert settings.api_keys[0].secret.get_secret_value() == SECRET


def test_parts_of_lists_are_cut_too(load: Load) -> None:
    settings = load(
        {
            "API_KEYS": f"\"one:viewer:{SECRET}1\"\n, two : admin : '{SECRET}:2' ,\n",
            "LANGUAGES": " 'de' ,\"en\",, fr\n",
            "ALLOW_PRIVATE_ADDRESSES": "'10.0.0.0/8','fd00::/8'",
        }
    )
    keys = [(key.name, key.role, key.secret.get_secret_value()) for key in settings.api_keys]
    assert keys == [("one", "viewer", f"{SECRET}1"), ("two", "admin", f"{SECRET}:2")]
    assert settings.languages == ("de", "en", "fr")
    assert [str(network) for network in settings.allow_private_addresses] == ["10.0.0.0/8", "fd00::/8"]


def test_quotes_that_are_no_pair_around_the_whole_stay(load: Load) -> None:
    password = "'p\"w"
    settings = load({"REDIS_URL": f"redis://:{password}@cache/0", "OTEL_SERVICE_NAME": "'x\""})
    assert settings.redis_url is not None
    assert password in settings.redis_url.get_secret_value()
    assert settings.otel_service_name == "'x\""


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_number_has_bounds(name: str) -> None:
    """What has none is taken at the start and breaks something later: a time of PostgreSQL, an int of its, a script."""
    shape = Settings.model_json_schema(by_alias=False)["properties"][name]
    for part in (shape, *shape.get("anyOf", ())):
        if part.get("type") in {"integer", "number"}:
            assert {"minimum", "exclusiveMinimum"} & part.keys()
            assert "maximum" in part


def test_the_most_pixels_are_what_pillow_takes() -> None:
    assert Settings(_env_file=None, picture_max_pixels=Image.MAX_IMAGE_PIXELS)


@pytest.mark.parametrize("empty", ["", " ", '""', "' '\n"])
def test_empty_is_not_set_for_every_setting(load: Load, empty: str) -> None:
    names = [name.upper() for name in Settings.model_fields]
    settings = load(dict.fromkeys(names, empty))
    assert settings == load({})
    assert settings.model_fields_set == set()


def test_an_empty_variable_hides_neither_its_alias_nor_the_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=8123\n")
    settings = load({"CONCURRENCY_FAMILIES": " ", "BULLMQ_CONCURRENCY_FAMILIES": "7", "PORT": ""})
    assert (settings.concurrency_families, settings.port) == (7, 8123)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"PORT": "many"}, 'PORT: should be a whole number from 0 to 65535, not "many"'),
        ({"PORT": "70000"}, 'PORT: should be a whole number from 0 to 65535, not "70000"'),
        ({"ORIGIN_MAX_RPS": "0"}, 'ORIGIN_MAX_RPS: should be a number from 0.01 to 100000, not "0"'),
        ({"ORIGIN_MAX_RPS": "1e300"}, 'ORIGIN_MAX_RPS: should be a number from 0.01 to 100000, not "1e300"'),
        ({"RETRY_BACKOFF_S": "inf"}, 'RETRY_BACKOFF_S: should be a number above 0, at most 300, not "inf"'),
        ({"LEASE_S": "nan"}, 'LEASE_S: should be a number from 1 to 15, not "nan"'),
        (
            {"CHANGES_RETENTION_DAYS": "inf"},
            'CHANGES_RETENTION_DAYS: should be a number above 0, at most 36500, not "inf"',
        ),
        (
            {"IMAGE_REVALIDATE_DAYS": "9999999"},
            'IMAGE_REVALIDATE_DAYS: should be a whole number from 0 to 36500, not "9999999"',
        ),
        (
            {"PICTURE_TIMEOUT_S": "1e9"},
            'PICTURE_TIMEOUT_S: should be a number above 0, at most 86400, not "1e9"',
        ),
        ({"REMOVE_AFTER_RUNS": "0"}, 'REMOVE_AFTER_RUNS: should be a whole number from 1 to 1000, not "0"'),
        (
            {"SCHEDULE_PAUSE_AFTER_FAILURES": "9999999999"},
            'SCHEDULE_PAUSE_AFTER_FAILURES: should be a whole number from 1 to 1000, not "9999999999"',
        ),
        (
            {"JOB_TIMEOUT_SUPPLIER_MS": "999999999999999999"},
            'JOB_TIMEOUT_SUPPLIER_MS: should be a whole number from 1000 to 86400000, not "999999999999999999"',
        ),
        (
            {"DOCUMENT_MAX_BYTES": "99999999999"},
            'DOCUMENT_MAX_BYTES: should be a whole number from 1024 to 1073741824, not "99999999999"',
        ),
        (
            {"PICTURE_MAX_PIXELS": "100000000"},
            'PICTURE_MAX_PIXELS: should be a whole number from 1 to 89478485, not "100000000"',
        ),
        ({"DEMO": "maybe"}, 'DEMO: should be true or false, not "maybe"'),
        ({"LOG_LEVEL": "LOUD"}, 'LOG_LEVEL: should be one of DEBUG, INFO, WARNING, ERROR, not "LOUD"'),
        ({"BULLMQ_CONCURRENCY_FAMILIES": "x"}, f'BULLMQ_CONCURRENCY_FAMILIES: {COUNT}, not "x"'),
        (
            {"BULLMQ_JOB_TIMEOUT_IMAGE": "5"},
            'BULLMQ_JOB_TIMEOUT_IMAGE: should be a whole number from 1000 to 86400000, not "5"',
        ),
        ({"CONCURRENCY_IMAGES": "0", "BULLMQ_CONCURRENCY_IMAGES": "5"}, f'CONCURRENCY_IMAGES: {COUNT}, not "0"'),
        ({"concurrency_images": "0"}, f'CONCURRENCY_IMAGES: {COUNT}, not "0"'),
        ({"ALLOW_PRIVATE_ADDRESSES": "10.0.0"}, "ALLOW_PRIVATE_ADDRESSES: " + NETWORKS),
        ({"DOCUMENT_HOSTS": "https://cdn.example"}, "DOCUMENT_HOSTS: " + HOSTS),
        ({"DOCUMENT_HOSTS": "cdn.example/Live, cdn.example"}, "DOCUMENT_HOSTS: " + HOSTS),
        ({"DOCUMENT_HOSTS": "*.cdn.example"}, "DOCUMENT_HOSTS: " + HOSTS),
        ({"FORWARDED_ALLOW_IPS": "proxy"}, "FORWARDED_ALLOW_IPS: " + PROXIES),
        ({"CORS_ORIGINS": "*"}, "CORS_ORIGINS: " + ORIGINS),
        ({"CORS_ORIGINS": "https://shop.example,shop.example"}, "CORS_ORIGINS: " + ORIGINS),
        ({"CORS_ORIGINS": "https://shop.example/page"}, "CORS_ORIGINS: " + ORIGINS),
        ({"ROOT_PATH": "/../up"}, "ROOT_PATH: should be a path such as /promi, of letters, digits and . _ ~ -"),
        ({"ROOT_PATH": "/healthz"}, TAKEN.format("/healthz")),
        ({"ROOT_PATH": "readyz/"}, TAKEN.format("/readyz")),
        ({"ROOT_PATH": "/metrics"}, TAKEN.format("/metrics")),
        ({"PUBLIC_URL": "shop.example"}, "PUBLIC_URL: " + ADDRESS.format("https://shop.example/promi")),
        ({"S3_PUBLIC_URL": "cdn.example"}, "S3_PUBLIC_URL: " + ADDRESS.format("https://pictures.example.com")),
        ({"R2_ENDPOINT": "r2.example"}, "R2_ENDPOINT: " + ADDRESS.format("https://account.r2.cloudflarestorage.com")),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"},
            "OTEL_EXPORTER_OTLP_ENDPOINT: " + ADDRESS.format("https://collector.example:4318"),
        ),
        ({"LANGUAGES": "dutch,german"}, "LANGUAGES: " + LANGUAGES),
        ({"LANGUAGES": ","}, "LANGUAGES: " + LANGUAGES),
        ({"PRICE_REGIONS": ","}, "PRICE_REGIONS: " + REGIONS),
        ({"PRICE_REGIONS": "' ', \"\""}, "PRICE_REGIONS: " + REGIONS),
        ({"S3_ENDPOINT_URL": "https://s3.example"}, "S3_ENDPOINT_URL is set, so S3_BUCKET is needed too"),
        ({"R2_ACCESS_KEY_ID": "id"}, "R2_ACCESS_KEY_ID is set, so R2_BUCKET_NAME is needed too"),
        ({**BUCKET}, "S3_BUCKET is set, so S3_SECRET_ACCESS_KEY is needed too"),
        ({**OF_R2}, "R2_BUCKET_NAME is set, so R2_SECRET_ACCESS_KEY is needed too"),
        (
            {"R2_BUCKET_NAME": "b"},
            "R2_BUCKET_NAME is set, so R2_ENDPOINT and R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY are needed too" + AWS,
        ),
        *[
            ({"S3_BUCKET": name}, "S3_BUCKET: " + NAME)
            for name in ("Bad Bucket!", "s3://pictures", "a/b", "ä", "a" * 256)
        ],
        ({"R2_BUCKET_NAME": "a/b"}, "R2_BUCKET_NAME: " + NAME),
        *[({"S3_REGION": name}, "S3_REGION: " + REGION) for name in ("eu central", "eu_central", "-eu", "1", "a" * 64)],
        ({"REDIS_URL": f"redis://:{SECRET}@cache:99999/0"}, REDIS_ADDRESS),
        ({"REDIS_URL": f"redis://:{SECRET}@cache/zero"}, REDIS_ADDRESS),
        ({"REDIS_URL": f"rediss://:{SECRET}/x@cache/0"}, REDIS_ADDRESS),
        ({"REDIS_URL": f"redis://:{SECRET}@[::1"}, REDIS_ADDRESS),
        ({"PROMIDATA_BASE_URL": f"https://u:{SECRET}@feed.example/x"}, BASE_ADDRESS),
        ({"PROMIDATA_BASE_URL": f"https://feed.example/x?key={SECRET}"}, BASE_ADDRESS),
        ({"PROMIDATA_BASE_URL": f"https://feed example/{SECRET}"}, BASE_ADDRESS),
        ({"REDIS_URL": f"http://:{SECRET}@cache"}, "REDIS_URL: should begin with redis:// or rediss://"),
        (
            {"DATABASE_URL": f"mysql://u:{SECRET}@db"},
            "DATABASE_URL: should begin with postgresql://, postgres:// or postgresql+asyncpg://",
        ),
        ({"PROMIDATA_BASE_URL": f"http://[{SECRET}"}, BASE_ADDRESS),
        ({"API_KEYS": SECRET}, "API_KEYS: key 1 " + KEY),
        (
            {"API_KEYS": ", ,"},
            "API_KEYS: should be name:role:secret, several separated by commas; leave it out for no keys",
        ),
        ({"API_KEYS": f"a:viewer:{SECRET},b:{SECRET}"}, "API_KEYS: key 2 " + KEY),
        ({"API_KEYS": "a:viewer:fifteen-letters"[:24]}, "API_KEYS: " + SHORT),
        *[
            ({"API_KEYS": f"a:viewer:{SECRET}{other}"}, "API_KEYS: " + NO_ASCII)
            for other in ("ä", "\x7fx", "a\tb", "a\nb")
        ],
        ({"DATA_DIR": "~nobody-of-this-name/x"}, "DATA_DIR: should be a path; " + HOMELESS),
        ({"API_KEYS": f"a:viewer:{SECRET},a:admin:{SECRET}2"}, "API_KEYS: keys 1 and 2 have the same name"),
        ({"API_KEYS": f"a:viewer:{SECRET},b:admin:{SECRET}"}, "API_KEYS: keys 1 and 2 have the same secret"),
    ],
)
def test_a_message_names_the_variable_and_what_is_possible(load: Load, given: dict[str, str], message: str) -> None:
    shown = said(load, given)
    assert shown == f"settings: {message}"
    assert SECRET not in shown


@pytest.mark.parametrize("bucket", ["a-b.c_D", "arn:aws:s3:eu-central-1:123456789012:accesspoint/pictures"])
def test_a_bucket_that_the_sdk_takes_is_taken(load: Load, bucket: str) -> None:
    assert load({**BUCKET, "S3_SECRET_ACCESS_KEY": SECRET, "S3_BUCKET": bucket}).s3_bucket == bucket


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("promi", "/promi"),
        ("/shop/promi/", "/shop/promi"),
        ("/", ""),
        ("//evil.example", "/evil.example"),
        ("/healthz/shop", "/healthz/shop"),
        ("/docs", "/docs"),
    ],
)
def test_a_path_prefix_is_read_with_and_without_slashes(load: Load, given: str, read: str) -> None:
    assert load({"ROOT_PATH": given}).root_path == read


@pytest.mark.parametrize("secret", ["0123456789-._~+/AZaz==", "!#$%&'()*;<>?@[]^`{|}:\"\\", "a sentence that is known"])
def test_every_sign_of_ascii_may_stand_in_a_secret(load: Load, secret: str) -> None:
    assert load({"API_KEYS": f"a:viewer:{secret}"}).api_keys[0].secret.get_secret_value() == secret


def test_a_home_is_looked_up_where_no_shell_did(load: Load, tmp_path: Path) -> None:
    settings = load({"HOME": str(tmp_path), "DATA_DIR": "~/promidata", "WORKER_PROBE_FILE": "~/pulse"})
    assert (settings.data_dir, settings.worker_probe_file) == (tmp_path / "promidata", tmp_path / "pulse")


@pytest.mark.parametrize("host", ["::", "::1", "0.0.0.0", "localhost"])
def test_brackets_of_an_address_to_listen_on_are_cut(load: Load, host: str) -> None:
    settings = load({"HOST": f"[{host}]", "METRICS_HOST": f"[{host}]"})
    assert (settings.host, settings.metrics_host) == (host, host)


@pytest.mark.parametrize("written", ["none", "CERT_NONE", "None", "cert_none"])
def test_what_is_asked_of_a_certificate_may_be_written_as_celery_does(load: Load, written: str) -> None:
    url = load({"REDIS_URL": f"rediss://:CERT_NONE@cache/0?db=1&ssl_cert_reqs={written}"}).redis_url
    assert url is not None
    assert url.get_secret_value() == "rediss://:CERT_NONE@cache/0?db=1&ssl_cert_reqs=none"


@pytest.mark.parametrize("added", ["", "/", "/Import/Import.txt", "/Import/Import.txt/"])
def test_the_address_of_the_manifest_leads_to_that_of_the_profile(load: Load, added: str) -> None:
    base = "https://promi-dl.de/Profiles/Live/x"
    assert load({"PROMIDATA_BASE_URL": base + added}).base_url == base


def test_everything_that_is_wrong_is_said_at_once(load: Load) -> None:
    message = said(load, {"PORT": "x", "BULLMQ_CONCURRENCY_IMAGES": "0", "API_KEYS": "short", "REDIS_URL": SECRET})
    for name in ("PORT: ", "BULLMQ_CONCURRENCY_IMAGES: ", "API_KEYS: ", "REDIS_URL: "):
        assert name in message
    assert SECRET not in message


def test_an_env_file_that_is_no_text_is_one_line(load: Load, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"REDIS_URL=\xff\xfe\n")
    assert said(load, {}) == "settings: .env cannot be read: it should be text in UTF-8"


def test_an_env_file_in_a_folder_that_may_not_be_entered_is_none(load: Load, tmp_path: Path) -> None:
    """As where root changes to another user and its own folder stays the working directory."""
    (tmp_path / ".env").write_text("PORT=8124\n")
    tmp_path.chmod(0o600)
    with without_rights():
        assert load({"API_KEYS": f"a:admin:{SECRET}"}).port == 8000
        assert said(load, {"PORT": "x"}).startswith("settings: PORT: ")
    tmp_path.chmod(0o700)


def test_an_env_file_that_is_there_and_closed_is_an_error(load: Load, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=8124\n")
    (tmp_path / ".env").chmod(0)
    tmp_path.chmod(0o755)
    with without_rights():
        assert said(load, {}) == f"settings: {tmp_path}/.env cannot be read: Permission denied"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (f'PORT=8000\n\nAPI_KEYS="a:admin:{SECRET}\nDEMO=false\n', "line 3 (API_KEYS)"),
        (f"  export api_keys='a:admin:{SECRET}\n", "line 1 (API_KEYS)"),
        (f'REDIS_URL="redis://:{SECRET}@cache\nS3_BUCKET="b"\nPORT=1\n', "line 1 (REDIS_URL)"),
        (f'API_KEYS="a:admin:{SECRET}" and more\r\n', "line 1 (API_KEYS)"),
        (f"DATABASE_URL: postgresql://u:{SECRET}@db/d\nPORT=1\n", "line 1 (DATABASE_URL)"),
        (f"DATABASE_URL:postgresql://u:{SECRET}@db/d?sslmode=require\n", "line 1 (DATABASE_URL)"),
        (f"# keys\nAPI_KEYS:a:admin:{SECRET}\nREDIS_URL redis://c\n", "line 2 (API_KEYS) and line 3 (REDIS_URL)"),
        (f"OTHER='x\n{SECRET} {SECRET}\n", "line 1 and line 2"),
    ],
)
def test_a_line_of_an_env_file_that_would_be_passed_over_is_refused(
    load: Load, tmp_path: Path, text: str, where: str
) -> None:
    (tmp_path / ".env").write_text(text, newline="")
    refused = f"settings: .env cannot be read in {where}: write NAME=value, and close a quote that was opened"
    assert said(load, {}) == refused


def test_an_env_file_as_other_programs_have_it_is_read(load: Load, tmp_path: Path) -> None:
    lines = ["\ufeff# ours", "export PORT = 8123 # http://x", "OTHER", "the.other's-own=a 'b", 'PEM="a:', 'b"', "", ""]
    (tmp_path / ".env").write_text("\r\n".join(lines), encoding="utf-8", newline="")
    assert load({}).port == 8123


async def test_a_command_ends_with_that_line_alone(tmp_path: Path) -> None:
    env = environment(PORT="many", API_KEYS="a:viewer:too-short")
    for arguments in (["api"], ["worker", "image"], ["migrate"], ["up"]):
        ended = await command(tmp_path, env, *arguments)
        assert ended.code == 1
        assert len(ended.err.strip().splitlines()) == 1, ended.err
        assert "PORT: should be a whole number" in ended.err
        assert "too-short" not in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["uvicorn", "app.main:app"],
        ["uvicorn", "--factory", "app.main:create_app"],
        ["arq", "workers.supplier.WorkerSettings"],
        ["arq", "workers.family.WorkerSettings"],
        ["arq", "workers.image.WorkerSettings"],
        ["alembic", "current"],
    ],
)
def test_commands_of_others_end_with_one_line_too(arguments: list[str]) -> None:
    program = Path(sys.executable).with_name(arguments[0])
    env = environment(PORT="many", DATABASE_URL="postgresql://u:p@127.0.0.1:1/d", PYTHONPATH=str(ROOT))
    ended = subprocess.run(
        [program, *arguments[1:]], check=False, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert (
        ended.stderr.strip() == 'promidata-sync: settings: PORT: should be a whole number from 0 to 65535, not "many"'
    )


def test_uvicorn_says_in_one_line_what_is_refused_when_the_parts_are_opened() -> None:
    env = environment(DATABASE_URL="postgresql://u:p@127.0.0.1:1/d?sslmode=odd", PYTHONPATH=str(ROOT))
    ended = subprocess.run(
        [Path(sys.executable).with_name("uvicorn"), "app.main:app", "--log-level", "error"],
        check=False, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    first, *others = ended.stderr.strip().splitlines()
    assert first.startswith("ERROR:    promidata-sync: DATABASE_URL: sslmode should be one of disable, ")
    assert others == ["ERROR:    Application startup failed. Exiting."]
