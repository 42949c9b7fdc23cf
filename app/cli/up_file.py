"""`DATA_DIR/up.json`: where the parts of a running `up` are, for the other commands on this machine.

It holds passwords, so it is mode 0600. It counts only while the `up` that wrote it lives: a process id comes back, a
process id with its start time does not. And only in the folder it was written into: a copy of that has the file, too.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import psutil

from app.data_folder import is_out_of_reach, make_data_folder
from app.errors import PromidataSyncError

NAME = "up.json"
LOCK = "up.lock"


class UpError(PromidataSyncError):
    """`up` cannot start or go on; the message says why and what to do."""


class RunningUp(msgspec.Struct, frozen=True):
    """A running `up`, as it described itself."""

    api_url: str
    database_url: str
    redis_url: str
    base_url: str
    data_dir: str
    pid: int
    pid_started_at_s: float
    """When that process began, in seconds since the epoch."""
    allow_private_addresses: str
    redis_prefix: str = ""
    folder: tuple[int, int] | None = None
    """DATA_DIR's device and inode, which a copy does not share and every path to it does; None: 0.1.0 did not say."""


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Hold the data folder for one `up`.

    Raises:
        UpError: another one has it, or it is not ours.
    """
    try:
        make_data_folder(data_dir)
        descriptor = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UpError(f"{data_dir}: {error.strerror}; set DATA_DIR to a folder that is yours") from error
    try:
        _lock(descriptor, data_dir)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, data_dir: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode() or "unknown"
        raise UpError(
            f"{data_dir} is in use by another `promidata-sync up` (process {holder}): "
            "stop it, or set another DATA_DIR for this one"
        ) from None


@contextmanager
def announced(api_url: str, parts: dict[str, str], data_dir: Path) -> Iterator[None]:
    """Keep `up.json` there while the block runs. `parts` are the environment variables that the parts were given."""
    running = RunningUp(
        api_url=api_url,
        database_url=parts["DATABASE_URL"],
        redis_url=parts["REDIS_URL"],
        base_url=parts["PROMIDATA_BASE_URL"],
        data_dir=str(data_dir),
        pid=os.getpid(),
        pid_started_at_s=psutil.Process().create_time(),
        allow_private_addresses=parts["ALLOW_PRIVATE_ADDRESSES"],
        redis_prefix=parts.get("REDIS_PREFIX", ""),
        folder=_identity(data_dir),
    )
    path = data_dir / NAME
    _write_private(path, msgspec.json.format(msgspec.json.encode(running)))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def _write_private(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    unfinished.replace(path)


def find_running(data_dir: Path) -> RunningUp | None:
    """The `up` that runs on this data folder, or None.

    Raises:
        UpError: one may run there, and the folder or its file is another user's.
    """
    try:
        running = msgspec.json.decode((data_dir / NAME).read_bytes(), type=RunningUp)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
    except PermissionError:
        what = f"enter {data_dir}" if is_out_of_reach(data_dir / NAME) else f"read {data_dir / NAME}"
        raise UpError(
            f"this user may not {what}: use the one who runs `up`, set DATA_DIR to a folder that is yours, "
            "or set DATABASE_URL, REDIS_URL and PROMIDATA_BASE_URL"
        ) from None
    if running.folder not in (None, _identity(data_dir)):
        return None
    with suppress(psutil.Error):
        if psutil.Process(running.pid).create_time() == running.pid_started_at_s:
            return running
    return None
