"""A log of bounded size for programs that know nothing of it.

    program ─▶ pipe ─▶ a thread of ours ─▶ NAME.log ─▶ full ─▶ NAME.before.log, and NAME.log begins anew

Through a pipe, because what a program writes itself cannot be cut without losing lines: between a copy and the cut it
goes on. Every start begins a new file, too, so that the last one's end can be read.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.data_folder import open_anew

MAX_BYTES = 10 * 1024 * 1024
_PIECE_BYTES = 64 * 1024


class RotatedLog:
    """One log; two files of `max_bytes` (and a line) at most. Threads may share it."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, open_file: Callable[[Path], int] = open_anew) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._open_file = open_file
        self._lock = threading.Lock()
        self._readers: list[threading.Thread] = []
        self._file: int | None = None
        self._written = 0
        self._begin_anew()

    @contextmanager
    def writer(self) -> Iterator[int]:
        """A descriptor for a program that is started in the block: its output and errors."""
        source, target = os.pipe()
        reader = threading.Thread(target=self._copy, args=(source,), name=self.path.name, daemon=True)
        reader.start()
        self._readers = [*(one for one in self._readers if one.is_alive()), reader]
        try:
            yield target
        finally:
            os.close(target)

    def close(self, timeout_s: float = 2.0) -> None:
        """Write the last lines of programs that have ended; what others say from now on is lost."""
        self.drain(timeout_s)
        with self._lock:
            if self._file is not None:
                os.close(self._file)
            self._file = None

    def drain(self, timeout_s: float) -> None:
        """Wait until everything is written that ended programs have said."""
        deadline = time.monotonic() + timeout_s
        for reader in self._readers:
            reader.join(max(0.0, deadline - time.monotonic()))

    def _copy(self, source: int) -> None:
        """Until the last program that has the other end is gone; a full disk must not make it wait."""
        try:
            while piece := os.read(source, _PIECE_BYTES):
                with self._lock, suppress(OSError):
                    self._write(piece)
        finally:
            os.close(source)

    def _write(self, piece: bytes) -> None:
        if self._file is None:
            return
        if self._written + len(piece) > self._max_bytes:
            rest_of_line = piece.find(b"\n") + 1
            self._append(piece[:rest_of_line])
            piece = piece[rest_of_line:]
            self._begin_anew()
        self._append(piece)

    def _append(self, piece: bytes) -> None:
        assert self._file is not None
        self._written += len(piece)
        while piece:
            piece = piece[os.write(self._file, piece) :]

    def _begin_anew(self) -> None:
        with suppress(FileNotFoundError):
            self.path.replace(self.path.with_name(f"{self.path.stem}.before.log"))
        opened = self._open_file(self.path)
        if self._file is not None:
            os.close(self._file)
        self._file, self._written = opened, 0
