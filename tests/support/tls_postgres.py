"""PostgreSQL that speaks TLS: the system's own, and TLS in front of the embedded one, which has none built in.

The embedded programs are those of the supported versions; the system's package is a whole server with its own TLS, its
own rules of who may come in how, and clients' certificates, where it is installed.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from tests.support.certificates import Authority
from tests.support.listening import listening

SSL_REQUEST = bytes((0, 0, 0, 8, 4, 210, 22, 47))
PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
RULES = """
hostssl  all      by_certificate  127.0.0.1/32  cert
hostssl  all      by_password     127.0.0.1/32  scram-sha-256
hostnossl plain   by_password     127.0.0.1/32  scram-sha-256
local    all      all                           trust
"""


@asynccontextmanager
async def tls_in_front(port: int, certificate: Path, key: Path) -> AsyncIterator[int]:
    """A relay to `port` that answers PostgreSQL's request for TLS; gives its own port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            first = await reader.readexactly(8)
            if first == SSL_REQUEST:
                writer.write(b"S")
                await writer.drain()
                await writer.start_tls(context)
            else:
                far_writer.write(first)
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, far_writer))
                group.create_task(_pump(far_reader, writer))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            far_writer.close()
            writer.close()

    async with listening(relay) as own:
        yield own


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    raise ConnectionResetError


@contextmanager
def system_postgres(certificate: Path, key: Path, authority: Path) -> Iterator[tuple[int, Path]]:
    """The system's PostgreSQL with TLS on 127.0.0.1; gives its port and its socket's folder.

    It refuses to be root, and is `postgres` then.
    """
    assert PROGRAMS is not None
    folder = Path(tempfile.mkdtemp(prefix="tls-postgres-"))
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        as_user = {"user": account.pw_uid, "group": account.pw_gid}
        os.chown(folder, account.pw_uid, account.pw_gid)
    data = folder / "data"
    _run(as_user, folder, PROGRAMS / "initdb", "-D", data, "-U", "admin", "-A", "trust", "--no-sync")
    for source, name in ((certificate, "server.crt"), (key, "server.key"), (authority, "root.crt")):
        shutil.copy(source, data / name)
        (data / name).chmod(0o600)
        if as_user:
            os.chown(data / name, as_user["user"], as_user["group"])
    (data / "pg_hba.conf").write_text(RULES)
    port = _free_port()
    options = ["-p", port, "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}", "-F"]
    options += ["-c", "ssl=on", "-c", "ssl_ca_file=root.crt"]
    log = (folder / "log").open("w")
    command = [str(part) for part in (PROGRAMS / "postgres", "-D", data, *options)]
    server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **as_user)
    try:
        _wait(folder, port, server)
        for sql in (
            "CREATE ROLE by_password LOGIN PASSWORD 'hunter2'",
            "CREATE ROLE by_certificate LOGIN",
            "CREATE DATABASE shop",
            "CREATE DATABASE plain",
        ):
            _run(
                as_user, folder, PROGRAMS / "psql", "-h", folder, "-p", port, "-U", "admin", "-d", "postgres", "-c", sql
            )
        yield port, folder
    finally:
        server.terminate()
        server.wait(20)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _run(as_user: dict[str, Any], folder: Path, *command: object) -> None:
    parts = [str(part) for part in command]
    subprocess.run(parts, cwd=folder, check=True, capture_output=True, timeout=60, **as_user)


def _wait(folder: Path, port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    status = folder / "data" / "postmaster.pid"
    while not (status.exists() and "ready" in status.read_text()):
        assert server.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, f"no answer on {port}"
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def plainly_or_by_tls(kind: str, port: int, url: str, folder: Path) -> AsyncIterator[str]:
    """The database at `url`, of the server at `port`: as it is ("plain"), or with TLS in front ("tls")."""
    if kind == "plain":
        yield url
        return
    async with tls_in_front(port, *Authority(folder, "known").issue("localhost")) as front:
        yield url.replace(f":{port}", f":{front}") + "?sslmode=require"
