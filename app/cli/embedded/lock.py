"""Only one start uses a server's folder, and the next one waits until the last server has ended."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

import psutil

from app.cli.embedded.home import EmbeddedServerError, Home

_WAIT_S = 15.0
_RELEASED = -1


class HomeLock:
    """One start at a time. The server inherits the lock, so it lasts until its last process has ended.

    Raises:
        EmbeddedServerError: another start uses the folder, or its server did not end within 15 s.
    """

    def __init__(self, home: Home) -> None:
        path = home.path / "lock"
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            home.give(path)
            self._take(home.path)
        except BaseException:
            os.close(self.descriptor)
            raise
        me = psutil.Process()
        self._note(f"{me.pid} {me.create_time()}")

    def release(self) -> None:
        """Let go, once. The next start waits for what is left of the server."""
        if self.descriptor == _RELEASED:
            return
        self._note("")
        os.close(self.descriptor)
        self.descriptor = _RELEASED

    def _take(self, path: Path) -> None:
        deadline = time.monotonic() + _WAIT_S
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            if holder := self._holder():
                raise EmbeddedServerError(f"{path} is in use by process {holder}: stop it, or set another DATA_DIR")
            if time.monotonic() > deadline:
                raise EmbeddedServerError(f"{path}: the server of an earlier start has not ended; end it first")
            time.sleep(0.02)

    def _holder(self) -> int | None:
        """The live process that started the server; None when it has ended or is letting go."""
        pid, _, created = os.pread(self.descriptor, 100, 0).decode().partition(" ")
        try:
            alive = psutil.Process(int(pid)).create_time() == float(created)
        except (ValueError, psutil.NoSuchProcess):
            return None
        return int(pid) if alive else None

    def _note(self, text: str) -> None:
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, text.encode(), 0)
