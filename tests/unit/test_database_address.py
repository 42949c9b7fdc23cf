"""DATABASE_URL as hosts hand it out: what the driver is given, what is passed over, what ends the start."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from app.errors import SettingsError
from app.persistence.database_address import read_address
from app.persistence.database_parameters import PASSED_OVER

PLACES = [
    ("postgresql://u:pw@db:5433/shop", "db:5433/shop", ["db"], [5433]),
    ("postgres://u:pw@db/shop", "db:5432/shop", ["db"], [5432]),
    ("postgresql+asyncpg://u:pw@db/shop", "db:5432/shop", ["db"], [5432]),
    ("postgresql://db", "db:5432", ["db"], [5432]),
    ("postgresql://[::1]:5433/shop", "[::1]:5433/shop", ["::1"], [5433]),
    ("postgresql://[fe80::1]/shop", "[fe80::1]:5432/shop", ["fe80::1"], [5432]),
    ("postgresql://a:1,[::1]:2,c/shop", "a:1,[::1]:2,c:5432/shop", ["a", "::1", "c"], [1, 2, 5432]),
    ("postgresql://a,b/shop?port=7", "a:7,b:7/shop", ["a", "b"], [7, 7]),
    ("postgresql:///shop?host=a,b&port=1,2", "a:1,b:2/shop", ["a", "b"], [1, 2]),
    ("postgresql:///shop?host=/var/run/postgresql", "/var/run/postgresql:5432/shop", ["/var/run/postgresql"], [5432]),
    ("postgresql://%2Fvar%2Frun%2Fpostgresql/shop", "/var/run/postgresql:5432/shop", ["/var/run/postgresql"], [5432]),
    ("postgresql://db/shop?host=other&dbname=else", "other:5432/else", ["other"], [5432]),
    ("postgresql://db?dbname=shop", "db:5432/shop", ["db"], [5432]),
    ("postgresql:///?hostaddr=10.0.0.1&dbname=shop", "10.0.0.1:5432/shop", ["10.0.0.1"], [5432]),
]
ACCOUNTS = [
    ("postgresql://u:pw@db/shop", "u", "pw"),
    ("postgresql://u@db/shop", "u", None),
    ("postgresql://db/shop", None, None),
    ("postgresql://u%40corp:p%40ss%2Fw%3Ard%25@db/shop", "u@corp", "p@ss/w:rd%"),
    ("postgresql://u:p+w@db/shop", "u", "p+w"),
    ("postgresql://u:p@ss@db/shop", "u", "p@ss"),
    ("postgresql://u:p?s#s:s@db/shop?sslmode=disable", "u", "p?s#s:s"),
    ("postgresql://db/shop?user=u&password=p%26w", "u", "p&w"),
    ("postgresql://db?user=u@corp&password=pw", "u@corp", "pw"),
]
REFUSED = [
    ("postgresql://u:hunter2@db/shop?sslmod=require", ["sslmod ", "sslmode"]),
    ("postgresql://u:hunter2@db/shop?search_path=hunter2", ["search_path", "options=-csearch_path"]),
    ("postgresql://u:hunter2@db/shop?pool_max_conns=4", ["pool_max_conns", "DATABASE_POOL_SIZE"]),
    ("postgresql://u:hunter2@db/shop?sslaccept=strict", ["sslaccept", "sslmode=verify-full"]),
    ("postgresql://u:hunter2@db/shop?made_up=hunter2", ["made_up", "libpq"]),
    ("postgresql://u:hunter2@db/shop?sslmode=hunter2", ["sslmode", "verify-full"]),
    ("postgresql://u:hunter2@db/shop?target_session_attrs=hunter2", ["target_session_attrs", "read-write"]),
    ("postgresql://u:hunter2@db/shop?connect_timeout=hunter2", ["connect_timeout", "whole number"]),
    ("postgresql://u:hunter2@db/shop?pgbouncer=hunter2", ["pgbouncer", "true or false"]),
    ("postgresql://u:hunter2@db/shop?gssencmode=require", ["gssencmode", "sslmode=require"]),
    ("postgresql://u:hunter2@db/shop?schema=hunter2", ["schema", "options=-csearch_path"]),
    ("postgresql://u:hunter2@db/shop?sslnegotiation=direct", ["sslnegotiation", "sslmode=require"]),
    ("postgresql://u:hunter2@db/shop?sslnegotiation=hunter2", ["sslnegotiation", "direct"]),
    ("postgresql://u:hunter2@db/shop?sslmode=verify-ca", ["sslmode=verify-ca", "sslrootcert=FILE"]),
    ("postgresql://u:hunter2@db/shop?sslmode=require&sslrootcert=system", ["sslrootcert=system", "verify-full"]),
    ("postgresql://u:hunter2@db/shop?sslmode=require&sslrootcert=/nowhere.crt", ["sslrootcert", "/nowhere.crt"]),
    ("postgresql://u:hunter2@db/shop?sslmode=require&sslcrl=/nowhere.crl", ["sslcrl", "/nowhere.crl"]),
    ("postgresql://u:hunter2@db/shop?sslmode=require&sslcrldir=/nowhere", ["sslcrldir", "/nowhere"]),
    ("postgresql://u:hunter2@db/shop?sslmode=require&sslcert=/nowhere.crt", ["sslcert", "/nowhere.crt"]),
    ("postgresql://u:hunter2@db/shop?sslmode=require&sslcert=/a&sslkey=/nowhere.key", ["sslkey", "/nowhere.key"]),
    ("postgresql://u:hunter2@db/shop?sslmode=require&ssl_min_protocol_version=SSLv3", ["ssl_min", "TLSv1.2"]),
    ("postgresql://u:hunter2@db/shop?sslmode", ["sslmode", "no value"]),
    ("postgresql://u:hunter2@db:hunter2/shop", ["port", "%2F"]),
    ("postgresql://u:hunter2@db:0/shop", ["port", "65535"]),
    ("postgresql://u:hunter2@a,b/shop?port=1,2,3", ["2 hosts", "3 ports"]),
    ("postgresql://u:hunter2@[::1/shop", ["IPv6", "[::1]:5432"]),
    ("postgresql://u:12/hunter2@db/shop", ["%2F"]),
    ("postgresql://u:p@x?hunter2@db/shop", ["%3F"]),
    ("mysql://u:hunter2@db/shop", ["postgresql://"]),
]


def argument(url: str, name: str) -> Any:
    return read_address(url).arguments.get(name)


@pytest.fixture(autouse=True)
def no_files_of_our_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path_factory.getbasetemp()))


@pytest.mark.parametrize(("url", "shown", "hosts", "ports"), PLACES)
def test_hosts_and_ports_are_found_wherever_they_stand(
    url: str, shown: str, hosts: list[str], ports: list[int]
) -> None:
    address = read_address(url)
    assert address.shown == shown
    assert address.arguments["host"] == hosts
    assert address.arguments["port"] == ports


@pytest.mark.parametrize(("url", "user", "password"), ACCOUNTS)
def test_user_and_password_are_decoded_and_never_shown(url: str, user: str | None, password: str | None) -> None:
    address = read_address(url)
    assert (address.arguments.get("user"), address.arguments.get("password")) == (user, password)
    assert address.shown in {"db:5432/shop", "db:5432"}


def test_an_address_without_anything_leaves_all_to_the_driver() -> None:
    address = read_address("postgresql://")
    assert address.arguments == {"timeout": 10}
    assert address.shown == "localhost:5432"


@pytest.mark.parametrize(("url", "words"), REFUSED)
def test_what_makes_no_sense_is_one_line_without_a_secret(url: str, words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        read_address(url)
    message = str(caught.value)
    assert message.startswith("DATABASE_URL")
    assert all(word in message for word in words), message
    assert "hunter2" not in message
    assert "\n" not in message


@pytest.mark.parametrize("name", sorted(PASSED_OVER))
def test_what_is_passed_over_changes_nothing_and_is_named(name: str) -> None:
    plain = read_address("postgresql://u:pw@db/shop")
    value = "public" if name == "schema" else "prefer"
    address = read_address(f"postgresql://u:pw@db/shop?{name}={value}")
    assert address.passed_over == (name,)
    assert PASSED_OVER[name]
    if name != "hostaddr":
        assert address.arguments == plain.arguments
    assert not address.server_settings


@pytest.mark.parametrize(
    ("mode", "given", "verified", "named"),
    [
        ("disable", "disable", None, None),
        ("allow", "allow", None, None),
        ("prefer", "prefer", None, None),
        ("require", ssl.SSLContext, False, False),
        ("verify-full", ssl.SSLContext, True, True),
    ],
)
def test_each_sslmode_verifies_what_it_says(mode: str, given: Any, verified: bool | None, named: bool | None) -> None:
    found = argument(f"postgresql://db/shop?sslmode={mode}", "ssl")
    if isinstance(given, str):
        assert found == given
    else:
        assert (found.verify_mode == ssl.CERT_REQUIRED, found.check_hostname) == (verified, named)
        assert found.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("query", ["ssl=true", "requiressl=1", "ssl=true&sslmode=require"])
def test_other_words_for_sslmode_require(query: str) -> None:
    assert argument(f"postgresql://db/shop?{query}", "ssl").verify_mode == ssl.CERT_NONE


def test_the_systems_certificates_mean_that_the_name_is_verified_too() -> None:
    for query in ("sslrootcert=system", "sslmode=verify-full&sslrootcert=system"):
        context = argument(f"postgresql://db/shop?{query}", "ssl")
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname


def test_versions_of_tls_and_its_direct_beginning() -> None:
    url = "postgresql://db/shop?sslmode=require&sslnegotiation=direct&ssl_min_protocol_version=TLSv1.3"
    arguments = read_address(f"{url}&ssl_max_protocol_version=TLSv1.3").arguments
    assert arguments["direct_tls"] is True
    assert arguments["ssl"].minimum_version == arguments["ssl"].maximum_version == ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(("text", "seconds"), [("15", 15), ("1", 1), ("0", None), ("-1", None), ("", 10)])
def test_connect_timeout_is_in_seconds_and_zero_waits_for_ever(text: str, seconds: float | None) -> None:
    assert argument(f"postgresql://db/shop?connect_timeout={text}", "timeout") == seconds


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("-c%20work_mem%3D8MB%20-c%20search_path%3Dshop", "-c work_mem=8MB -c search_path=shop"),
        ("-csearch_path=shop", "-csearch_path=shop"),
        ("--search_path%3Dshop", "--search_path=shop"),
        ("endpoint%3Dep-cool-name-123", "endpoint=ep-cool-name-123"),
        ("--cluster%3Dshop-1234", "--cluster=shop-1234"),
    ],
)
def test_options_are_handed_on_as_they_stand(text: str, options: str) -> None:
    assert read_address(f"postgresql://db/shop?options={text}").server_settings == {"options": options}


def test_the_application_has_the_name_that_it_is_given() -> None:
    assert read_address("postgresql://db").application_name == "promidata-sync"
    assert read_address("postgresql://db?application_name=shop%20a").application_name == "shop a"
    assert read_address("postgresql://db?fallback_application_name=b").application_name == "b"
    assert read_address("postgresql://db?fallback_application_name=b&application_name=a").application_name == "a"


@pytest.mark.parametrize(("query", "on"), [("pgbouncer=true", True), ("pgbouncer=false", False), ("", False)])
def test_prismas_word_for_a_transaction_pooler(query: str, on: bool) -> None:
    assert read_address(f"postgresql://db/shop?{query}").transaction_pooler is on


@pytest.mark.parametrize("session", ["any", "read-write", "read-only", "primary", "standby", "prefer-standby"])
def test_which_of_several_servers_is_meant(session: str) -> None:
    url = f"postgresql://a,b/shop?target_session_attrs={session}"
    assert argument(url, "target_session_attrs") == session


def test_files_of_passwords_and_services_are_the_drivers_to_read() -> None:
    assert argument("postgresql://db/shop?passfile=/run/pgpass", "passfile") == "/run/pgpass"
    address = read_address("postgresql://?service=shop&servicefile=/run/services")
    assert address.shown == "service shop"
    assert address.arguments == {
        "service": "shop",
        "servicefile": "/run/services",
        "dsn": "postgresql://",
        "timeout": 10,
    }


@pytest.mark.parametrize(
    "query",
    [
        "sslmode=require&channel_binding=require",  # Neon
        "sslmode=require&channel_binding=require&connect_timeout=15&pool_timeout=15&pgbouncer=true",  # Neon, Prisma
        "pgbouncer=true&connection_limit=1",  # Supabase
        "sslmode=require&supa=base-pooler.x",  # Supabase through Vercel
        "sslmode=require",  # DigitalOcean, Aiven, Azure, Timescale
        "ssl=true",
        "schema=public&sslmode=prefer",
        "keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3&gssencmode=disable&sslsni=1",
    ],
)
def test_addresses_of_hosts_are_taken_as_they_come(query: str) -> None:
    assert read_address(f"postgresql://u:pw@db.example.com:5432/shop?{query}").shown == "db.example.com:5432/shop"
