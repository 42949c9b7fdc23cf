"""DATA_DIR: what is in it is ours alone, folders 0700 and files 0600; and whether we are let into a folder at all."""

from __future__ import annotations

import os
from pathlib import Path

FILES_UMASK = 0o077
"""For every program that writes there."""
_PRIVATE = 0o700
_TO_PASS = 0o711
"""Root's own: PostgreSQL and Valkey run as a user without a name, and must get through to their folders."""


def make_data_folder(path: Path) -> None:
    """Make DATA_DIR, and what is missing above it; the modes of what is there stay.

    Raises:
        OSError: it cannot be made.
    """
    missing = [one for one in (path, *path.parents) if not one.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        folder.chmod(_TO_PASS if os.geteuid() == 0 else _PRIVATE)
    if not path.is_dir():
        raise NotADirectoryError(20, "Not a directory", str(path))


def is_out_of_reach(path: Path) -> bool:
    """Whether a folder on the way may not be entered, so that what it holds cannot be known."""
    try:
        path.lstat()
    except OSError as error:
        return isinstance(error, PermissionError)
    return False


def open_anew(path: Path) -> int:
    """A descriptor of a file that nobody else can read, empty; what is written goes to its end.

    Raises:
        OSError: it cannot be made, or is a link.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor
