"""A real PgBouncer in transaction mode before a test's PostgreSQL, with as few servers as a test wants.

It refuses to be root, so it is started as `nobody` there. Everybody is let in as the user of the PostgreSQL behind it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
CONFIGURATION = """
[databases]
* = host={host} port={port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {servers}
max_client_conn = 200
admin_users = {user}
{more}
"""


@dataclass(frozen=True)
class Pooler:
    """A PgBouncer that runs."""

    port: int
    log: Path

    def url(self, url: str) -> str:
        """The same database by way of the pooler; nobody is asked for a password."""
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.username}@127.0.0.1:{self.port}{parts.path}"


@contextmanager
def pgbouncer(url: str, *, servers: int = 6, more: str = "") -> Iterator[Pooler]:
    """PgBouncer before the PostgreSQL at `url`; `more` are lines of its configuration."""
    assert PROGRAM is not None, "pgbouncer is not installed: apt-get install pgbouncer"
    parts, port = urlsplit(url), _free_port()
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    folder.chmod(0o755)
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        CONFIGURATION.format(
            host=parts.hostname,
            port=parts.port,
            user=parts.username,
            password=parts.password,
            listen_port=port,
            servers=servers,
            more=more,
        )
    )
    as_user = ["-u", "nobody"] if os.geteuid() == 0 else []
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([PROGRAM, *as_user, str(configuration)], stdout=output, stderr=output)
    try:
        _wait_for(process, port, log)
        yield Pooler(port, log)
    finally:
        process.kill()
        process.wait(10)
        shutil.rmtree(folder)


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise AssertionError(f"pgbouncer did not come up:\n{log.read_text()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
