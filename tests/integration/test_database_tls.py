"""Every `sslmode` against servers that speak TLS, with certificates of the test's own."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from app.errors import DatabaseMisfit
from app.persistence.database import Database
from tests.support.certificates import Authority
from tests.support.command_line import command, environment
from tests.support.stack import Servers
from tests.support.tls_postgres import PROGRAMS, system_postgres, tls_in_front


@dataclass(frozen=True)
class Certificates:
    """`known` signed the server's, which is for localhost; `other` signed nothing."""

    known: Authority
    other: Authority
    server: tuple[Path, Path]


@dataclass(frozen=True)
class Target:
    """A server with TLS. `{host}` in `url` is localhost, which the certificate is for, or 127.0.0.1."""

    url: str
    certificates: Certificates
    socket: Path | None = None

    def at(self, host: str, query: str) -> str:
        known, other = self.certificates.known.certificate, self.certificates.other.certificate
        return self.url.format(host=host) + "?" + query.format(known=known, other=other, crl=known.with_suffix(".crl"))


@pytest.fixture(scope="module", autouse=True)
def no_files_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    known = Authority(folder, "known")
    server = known.issue("localhost")
    known.revoke(server[0])
    return Certificates(known, Authority(folder, "other"), server)


@pytest.fixture(scope="module")
async def relay(servers: Servers, certificates: Certificates) -> AsyncIterator[Target]:
    """The embedded PostgreSQL behind TLS."""
    async with tls_in_front(servers.postgres.port, *certificates.server) as port:
        url = servers.postgres.url.replace(f"127.0.0.1:{servers.postgres.port}", f"{{host}}:{port}")
        yield Target(url, certificates)


@pytest.fixture(scope="module")
def system(certificates: Certificates) -> object:
    """The system's own PostgreSQL, which has TLS built in and knows who may come in without."""
    if PROGRAMS is None:
        pytest.skip("no PostgreSQL of the system's: apt-get install postgresql")
    with system_postgres(*certificates.server, certificates.known.certificate) as (port, folder):
        yield Target(f"postgresql://by_password:hunter2@{{host}}:{port}/shop", certificates, folder)


@pytest.fixture(params=["relay", "system"])
def target(request: pytest.FixtureRequest) -> Target:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Target)
    return found


async def encrypted(url: str) -> bool:
    """Connect as the service does; whether the connection is encrypted.

    Raises:
        DatabaseMisfit: no connection, for what the address or the server has wrong.
    """
    database = Database(url)
    try:
        await database.check()
        async with database.begin() as db:
            session = (await db.get_raw_connection()).driver_connection
            assert isinstance(session, asyncpg.Connection)
            return session._transport.get_extra_info("ssl_object") is not None
    finally:
        await database.close()


WORKS = [
    ("localhost", "sslmode=prefer"),
    ("localhost", "sslmode=require"),
    ("localhost", "ssl=true"),
    ("localhost", "sslmode=require&channel_binding=require"),
    ("localhost", "sslmode=require&sslrootcert={known}"),
    ("127.0.0.1", "sslmode=require&sslrootcert={known}"),
    ("localhost", "sslmode=verify-ca&sslrootcert={known}"),
    ("127.0.0.1", "sslmode=verify-ca&sslrootcert={known}"),
    ("localhost", "sslmode=verify-full&sslrootcert={known}"),
    ("localhost", "sslmode=verify-full&sslrootcert={known}&ssl_min_protocol_version=TLSv1.3"),
    ("localhost", "sslmode=require&ssl_max_protocol_version=TLSv1.2"),
]
REFUSED = [
    ("localhost", "sslmode=require&sslrootcert={other}", "sslrootcert"),
    ("localhost", "sslmode=verify-ca&sslrootcert={other}", "sslrootcert"),
    ("localhost", "sslmode=verify-full&sslrootcert={other}", "sslrootcert"),
    ("localhost", "sslmode=verify-full", "sslrootcert"),
    ("localhost", "sslrootcert=system", "sslrootcert"),
    ("127.0.0.1", "sslmode=verify-full&sslrootcert={known}", "another name"),
    ("localhost", "sslmode=verify-full&sslrootcert={known}&sslcrl={crl}", "revoked"),
]


@pytest.mark.parametrize(("host", "query"), WORKS)
async def test_the_connection_is_encrypted(target: Target, host: str, query: str) -> None:
    assert await encrypted(target.at(host, query))


@pytest.mark.parametrize(("host", "query", "words"), REFUSED)
async def test_a_server_that_is_not_the_one_that_was_meant_gets_nothing(
    target: Target, host: str, query: str, words: str
) -> None:
    with pytest.raises(DatabaseMisfit, match=words) as caught:
        await encrypted(target.at(host, query))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_a_server_without_tls_is_refused(servers: Servers, certificates: Certificates, mode: str) -> None:
    with pytest.raises(DatabaseMisfit, match=r"no TLS.*sslmode"):
        await encrypted(f"{servers.postgres.url}?sslmode={mode}&sslrootcert={certificates.known.certificate}")


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
async def test_a_server_without_tls_is_taken_where_that_was_said(servers: Servers, mode: str) -> None:
    assert not await encrypted(f"{servers.postgres.url}?sslmode={mode}")


async def test_allow_encrypts_where_the_server_insists_and_disable_never_does(system: Target) -> None:
    assert await encrypted(system.at("localhost", "sslmode=allow"))
    plain = system.url.replace("/shop", "/plain").format(host="localhost")
    assert not await encrypted(f"{plain}?sslmode=allow")
    assert not await encrypted(f"{plain}?sslmode=disable")
    with pytest.raises(DatabaseMisfit, match=r"does not let this user in.*sslmode=require"):
        await encrypted(system.at("localhost", "sslmode=disable"))


async def test_a_unix_socket_needs_no_tls_whatever_sslmode_says(system: Target) -> None:
    port = system.url.rpartition(":")[2].partition("/")[0]
    for url in (
        f"postgresql://admin@/shop?host={system.socket}&port={port}&sslmode=require",
        f"postgresql://admin@{str(system.socket).replace('/', '%2F')}:{port}/shop",
    ):
        assert not await encrypted(url)


async def test_our_own_certificate_stands_for_a_password(system: Target) -> None:
    cert, key = system.certificates.known.issue("by_certificate", password=b"its password")
    url = system.url.replace("by_password:hunter2", "by_certificate").format(host="localhost")
    ours = f"{url}?sslmode=require&sslcert={cert}&sslkey={key}"
    assert await encrypted(f"{ours}&sslpassword=its%20password")
    with pytest.raises(DatabaseMisfit):
        await encrypted(f"{ours}&sslpassword=its%20password&sslcertmode=disable")


async def test_the_root_certificate_of_the_home_folder_counts(
    relay: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".postgresql").mkdir()
    shutil.copy(relay.certificates.known.certificate, tmp_path / ".postgresql" / "root.crt")
    assert await encrypted(relay.at("localhost", "sslmode=verify-full"))
    shutil.copy(relay.certificates.other.certificate, tmp_path / ".postgresql" / "root.crt")
    with pytest.raises(DatabaseMisfit, match="sslrootcert"):
        await encrypted(relay.at("localhost", "sslmode=require"))


async def test_the_certificates_of_the_system_are_those_that_openssl_finds(
    relay: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(relay.certificates.known.certificate))
    assert await encrypted(relay.at("localhost", "sslrootcert=system"))
    assert await encrypted(relay.at("localhost", "sslmode=verify-full"))


async def test_the_command_line_says_what_is_wrong_with_tls_in_one_line(
    servers: Servers, relay: Target, tmp_path: Path
) -> None:
    url = relay.at("localhost", "sslmode=verify-full&sslrootcert={other}")
    ended = await command(tmp_path, environment(DATABASE_URL=url, DATA_DIR=str(tmp_path)), "migrate")
    (line,) = ended.err.splitlines()
    assert ended.code == 1
    assert "sslrootcert" in line
    assert servers.postgres.url.split(":")[2].split("@")[0] not in line
