"""Start a server process on a free port, wait until it answers, and stop it again.

It gets a session of its own, so that Ctrl-C reaches us first and we stop it last; it is told to end when we do; and it
inherits the lock on its folder.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from app.cli.die_with_parent import wrap
from app.cli.embedded.home import EmbeddedServerError, Home
from app.cli.embedded.lock import HomeLock
from app.cli.rotated_log import RotatedLog
from app.data_folder import FILES_UMASK, open_anew

_PORT_TRIES = 5
_READY_WITHIN_S = 120.0
_LOOK_EVERY_S = 0.01
_LOG_TAIL_BYTES = 2_000
_KILLED_WITHIN_S = 10.0


@dataclass(frozen=True)
class StopStep:
    """A signal, and how long the server has to end after it."""

    signum: signal.Signals
    wait_s: float


@dataclass
class EmbeddedServer:
    """A running server on 127.0.0.1. As a context manager it stops at the end."""

    name: str
    url: str
    port: int
    home: Home
    process: subprocess.Popen[bytes]
    stop_steps: Sequence[StopStep] = field(repr=False)
    lock: HomeLock = field(repr=False)
    log: RotatedLog = field(repr=False)

    def __repr__(self) -> str:
        return f"<{self.name} pid {self.pid} port {self.port}>"  # the address holds the password

    @property
    def pid(self) -> int:
        """The process id of the server's first process."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether its first process is still there."""
        return self.process.poll() is None

    def stop(self, *, discard: bool = False) -> None:
        """Stop the server and wait until it has ended; its data stays, unless `discard`. Safe to call again."""
        for step in self.stop_steps:
            if self._ends_after(step):
                break
        else:
            _kill(self.process)
        self.log.close()
        self.lock.release()
        if discard:
            shutil.rmtree(self.home.path, ignore_errors=True)
            with suppress(OSError):
                self.home.path.parent.rmdir()

    def _ends_after(self, step: StopStep) -> bool:
        self.process.send_signal(step.signum)
        try:
            self.process.wait(step.wait_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


@dataclass(frozen=True)
class Launch:
    """How one server is started: its command for a port, and the test whether it answers."""

    name: str
    command: Callable[[int], Sequence[str]]
    ready: Callable[[subprocess.Popen[bytes], int], bool]
    end_with_parent: signal.Signals


Launched = tuple[subprocess.Popen[bytes], int, RotatedLog]
"""The process, its port, its log."""


def launch(how: Launch, home: Home, lock: HomeLock, *, port: int = 0) -> Launched:
    """Start the server on `port`; 0 picks a free one, and another if somebody was quicker.

    Raises:
        EmbeddedServerError: it ended or did not answer within 120 s; the message ends with its last lines.
    """
    log = RotatedLog(home.path / "server.log", open_file=lambda path: _open_log(home, path))
    for _ in range(_PORT_TRIES):
        candidate = port or free_port()
        command = how.command(candidate)
        with log.writer() as output:
            process = run_in(home, command, how.end_with_parent, output, inherited=[lock.descriptor])
        with _killed_on_error(process):
            if _wait_ready(how, process, candidate):
                return process, candidate, log
        log.drain(_KILLED_WITHIN_S)
        if port or "in use" not in tail(log.path):
            break
    log.close()
    raise EmbeddedServerError(f"{how.name} did not start (its log is {log.path}):\n{tail(log.path)}")


def _open_log(home: Home, path: Path) -> int:
    descriptor = open_anew(path)
    home.give(path)
    return descriptor


def run_in(
    home: Home,
    command: Sequence[str],
    signum: signal.Signals,
    output: int,
    *,
    stdin: Path | None = None,
    inherited: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program in the folder as its user, with nothing of our environment.

    `signum` is what it gets when we end; what it says goes to `output`; `inherited` are descriptors that it keeps open.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("start servers from the main thread: they end with the thread that started them")
    with (stdin or Path(os.devnull)).open("rb") as source:
        return subprocess.Popen(  # noqa: S603 - programs out of our own wheels
            wrap(command, signum=signum, uid=home.uid),
            cwd=home.path,
            env=_environment(),
            stdin=source,
            stdout=output,
            stderr=output,
            start_new_session=True,
            umask=FILES_UMASK,
            pass_fds=inherited,
        )


KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LOCPATH")
"""Where the system keeps what the programs load: libraries, and the C library's locales."""


def _environment() -> dict[str, str]:
    """What programs need and no more: PGDATA would mislead them, and credentials are not theirs to see."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def free_port() -> int:
    """A port on 127.0.0.1 that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tail(log: Path) -> str:
    """The last 2,000 bytes of a log, as text."""
    return log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()


@contextmanager
def _killed_on_error(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        _kill(process)
        raise


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(_KILLED_WITHIN_S)


def _wait_ready(how: Launch, process: subprocess.Popen[bytes], port: int) -> bool:
    """Return False when the process ended instead."""
    deadline = time.monotonic() + _READY_WITHIN_S
    while process.poll() is None:
        if how.ready(process, port):
            return True
        if time.monotonic() > deadline:
            raise EmbeddedServerError(f"{how.name} does not answer after {_READY_WITHIN_S:.0f} s")
        time.sleep(_LOOK_EVERY_S)
    return False
