"""Pictures in a folder of this machine, for `make run` and small installations.

    put ─▶ .incoming/<random> ─ fsync ─▶ rename to ab/cd/<sha256>.jpg ─ fsync of the folder

A reader sees a whole picture or none, also after a power cut. The API serves the files under `/media/`.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from app.data_folder import make_data_folder
from app.errors import StoreUnavailable
from app.images.store import StoredObject, is_media_key, require_bytes, require_media_key
from app.metrics.traffic import measured

INCOMING = ".incoming"
FOLDER_MODE, FILE_MODE = 0o700, 0o600
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
UNFINISHED_S = 86_400.0
"""A put takes seconds; what is a day old belongs to a process that died."""


class LocalStore:
    """An ObjectStore in the folder `root`, which is made when it is first written to."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.host = "local"

    @measured("put")
    async def put(self, key: str, body: bytes, content_type: str) -> None:  # noqa: ARG002 (the extension says it)
        """See ObjectStore."""
        await asyncio.to_thread(self._write, self._path(key), body)

    @measured("head")
    async def head(self, key: str) -> StoredObject | None:
        """See ObjectStore."""
        return await asyncio.to_thread(self._stat, key)

    @measured("get")
    async def get(self, key: str) -> bytes:
        """See ObjectStore."""
        return await asyncio.to_thread(self._read, key)

    @measured("delete")
    async def delete(self, key: str) -> None:
        """See ObjectStore."""
        with _explained("remove a picture from", self._root):
            await asyncio.to_thread(self._path(key).unlink, missing_ok=True)

    async def list_objects(self, prefix: str = "", after: str = "") -> AsyncIterator[StoredObject]:
        """See ObjectStore."""
        for folder in await asyncio.to_thread(self._folders):
            for found in await asyncio.to_thread(self._objects, folder):
                if found.key.startswith(prefix) and found.key > after:
                    yield found

    def public_url(self, key: str) -> str:
        """See ObjectStore."""
        return f"/media/{require_media_key(key)}"

    async def sweep(self) -> int:
        """See ObjectStore."""
        return await asyncio.to_thread(self._sweep)

    @measured("check")
    async def check(self) -> None:
        """See ObjectStore."""
        await asyncio.to_thread(self._probe)

    def path_of(self, key: str) -> Path | None:
        """The picture's file, for whoever serves it, or None when `key` is none; the file may be missing."""
        return self._path(key) if is_media_key(key) else None

    def _path(self, key: str) -> Path:
        return self._root / require_media_key(key)

    def _write(self, path: Path, body: bytes) -> None:
        """In as few calls of the system as it takes: threads that write wait for each other after every one."""
        with _explained("write to", self._root):
            unfinished = self._root / INCOMING / uuid4().hex
            try:
                handle = self._open_new(unfinished)
                try:
                    _write_whole(handle, body)
                    os.fsync(handle)
                finally:
                    os.close(handle)
                self._rename(unfinished, path)
            except BaseException:
                with suppress(FileNotFoundError):
                    unfinished.unlink()
                raise
            _sync_folder(path.parent)

    def _open_new(self, path: Path) -> int:
        try:
            return os.open(path, NEW, FILE_MODE)
        except FileNotFoundError:
            self._make_incoming()
            return os.open(path, NEW, FILE_MODE)

    def _rename(self, unfinished: Path, path: Path) -> None:
        """Folders are made where one is missing: most are there, and to be told so holds up whoever writes there."""
        try:
            unfinished.rename(path)
        except FileNotFoundError:
            for folder in (path.parent.parent, path.parent):
                folder.mkdir(FOLDER_MODE, exist_ok=True)
            unfinished.rename(path)

    def _read(self, key: str) -> bytes:
        with _explained("read from", self._root):
            return require_bytes(key, self._path(key).read_bytes())

    def _stat(self, key: str) -> StoredObject | None:
        with _explained("read from", self._root):
            try:
                found = self._path(key).stat()
            except FileNotFoundError:
                return None
            return StoredObject(key, found.st_size, found.st_mtime)

    def _folders(self) -> list[Path]:
        with _explained("list", self._root):
            if not self._root.is_dir():
                return []
            return sorted(path for path in self._root.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]") if path.is_dir())

    def _objects(self, folder: Path) -> list[StoredObject]:
        keys = sorted(path.relative_to(self._root).as_posix() for path in folder.iterdir())
        found = (self._stat(key) for key in keys if is_media_key(key))
        return [item for item in found if item is not None]

    def _sweep(self) -> int:
        with _explained("remove unfinished pictures from", self._root):
            if not (self._root / INCOMING).is_dir():
                return 0
            return sum(_remove_if_old(path) for path in (self._root / INCOMING).iterdir())

    def _probe(self) -> None:
        with _explained("write to", self._root):
            self._make_incoming()
            with tempfile.TemporaryFile(dir=self._root / INCOMING) as file:
                file.write(b"x")

    def _make_incoming(self) -> None:
        """Each folder by itself, outermost first: `parents` would give those in between another mode."""
        make_data_folder(self._root.parent)
        for folder in (self._root, self._root / INCOMING):
            folder.mkdir(FOLDER_MODE, exist_ok=True)


def _remove_if_old(path: Path) -> bool:
    with suppress(FileNotFoundError):  # it was on its way, and has arrived
        if path.stat().st_mtime < time.time() - UNFINISHED_S:
            path.unlink()
            return True
    return False


def _write_whole(handle: int, body: bytes) -> None:
    """A disk that is nearly full takes a part; it refuses the next one."""
    left = memoryview(body)
    while left:
        left = left[os.write(handle, left) :]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _explained(what: str, root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise StoreUnavailable(f"cannot {what} {root}: {why}; DATA_DIR names the folder above it") from error
