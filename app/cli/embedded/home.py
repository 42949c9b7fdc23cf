"""Where an embedded server lives, and as whom it runs.

                    ordinary user          root, DATA_DIR reachable      root, DATA_DIR closed to others
    runs as         that user              an unused numeric uid         the same
    lives in        DATA_DIR/<name>        DATA_DIR/<name>               /var/tmp/promidata-sync-<hash>/<name>

PostgreSQL refuses to run as root, and opening the modes of somebody's folders is not ours to do. The hash is that of
the data folder's path, so that two stacks do not meet and the next start finds its data.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from app.data_folder import make_data_folder
from app.errors import PromidataSyncError

Say = Callable[[str], None]

_SHELTER = Path("/var/tmp")  # noqa: S108 - survives a reboot; the folder in it is 0700 and its owner is checked
# Below systemd's dynamic users, within the 65,536 ids that a rootless container maps.
_FIRST_UID, _UIDS = 50_000, 9_000
_ACCESS_AS = """
import os, sys
uid = int(sys.argv[1])
os.setgroups([]); os.setgid(uid); os.setuid(uid)
sys.exit(not all(os.access(path, os.X_OK if os.path.isdir(path) else os.R_OK) for path in sys.argv[2:]))
"""


class EmbeddedServerError(PromidataSyncError):
    """An embedded server cannot be had; the message says why and what to do."""


@dataclass(frozen=True)
class Home:
    """The folder of one server (mode 0700), and the uid that it runs as; None is the user that we are.

    `nursery` is a folder on the same disk that others can enter, for what is under construction.
    """

    path: Path
    uid: int | None
    nursery: Path

    def give(self, path: Path) -> None:
        """Make the server's user the owner of `path` and everything in it."""
        if self.uid is not None:
            for one in (path, *path.rglob("*")):
                os.chown(one, self.uid, self.uid, follow_symlinks=False)


def find_home(data_dir: Path, name: str, say: Say) -> Home:
    """Make the folder for the server `name`, or find it again.

    Raises:
        EmbeddedServerError: the folder belongs to somebody else, or cannot be made.
    """
    data_dir = data_dir.resolve()
    try:
        make_data_folder(data_dir)
        if os.geteuid() == 0:
            return _home_for_root(data_dir, name, say)
        return Home(_own(data_dir / name, os.geteuid()), None, data_dir)
    except OSError as error:
        raise EmbeddedServerError(f"{data_dir}: {error.strerror}; set DATA_DIR to a folder that is yours") from error


def _home_for_root(data_dir: Path, name: str, say: Say) -> Home:
    inside = data_dir / name
    digest = hashlib.sha256(str(data_dir).encode()).hexdigest()
    uid = _owner(inside) or _unused_uid(digest)
    if can_reach(uid, [data_dir]):
        return Home(_own(inside, uid), uid, data_dir)
    shelter = _SHELTER / f"promidata-sync-{digest[:12]}"
    uid = _owner(shelter) or uid
    if uid not in range(_FIRST_UID, _FIRST_UID + _UIDS):
        raise EmbeddedServerError(f"{shelter} belongs to user {uid}, not to us: remove it, or set DATA_DIR")
    home = Home(_own(_own(shelter, uid) / name, uid), uid, _SHELTER)
    say(f"{name} cannot run as root, and {data_dir} is closed to others: it runs as uid {uid}, data in {home.path}")
    return home


def _owner(path: Path) -> int | None:
    """The owner of an existing folder, unless it is root (a start that broke off)."""
    try:
        return path.lstat().st_uid or None
    except FileNotFoundError:
        return None


def _unused_uid(digest: str) -> int:
    start = int(digest[:8], 16)
    known = {entry.pw_uid for entry in pwd.getpwall()}
    return next(uid for step in range(_UIDS) if (uid := _FIRST_UID + (start + step) % _UIDS) not in known)


def _own(path: Path, uid: int) -> Path:
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {0, uid}:
        raise EmbeddedServerError(
            f"{path} belongs to user {found.st_uid}: start as root or as that user, or set DATA_DIR"
        )
    if found.st_uid != uid:
        os.chown(path, uid, uid, follow_symlinks=False)
    return path


def can_reach(uid: int, paths: Sequence[Path]) -> bool:
    """Say whether that user may enter the folders and read the files, by trying it as that user."""
    command = [sys.executable, "-I", "-S", "-c", _ACCESS_AS, str(uid), *map(str, paths)]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0  # noqa: S603 - our own code


def bootstrap_uid() -> int:
    """The uid that initdb may run as: unlike the server, it insists on a user with a name.

    Raises:
        EmbeddedServerError: there is none but root.
    """
    others = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid}
    if not others:
        raise EmbeddedServerError("initdb needs a user besides root in /etc/passwd: start as one, or set DATABASE_URL")
    return others.get("nobody", min(others.values()))


def password_in(home: Home) -> str:
    """Return the server's password, made at the first start and kept in a file with mode 0600."""
    path = home.path / "password"
    if not path.exists():
        unfinished = path.with_name("password.unfinished")
        unfinished.unlink(missing_ok=True)
        write_private(home, unfinished, secrets.token_urlsafe(24) + "\n")
        unfinished.rename(path)
    return path.read_text().strip()


def write_private(home: Home, path: Path, text: str) -> None:
    """Write a file of the server's user that nobody else can read."""
    with open_private(home, path) as file:
        file.write(text.encode())


def open_private(home: Home, path: Path) -> BinaryIO:
    """Open such a file anew. A link in its place is refused: we may be root, and the folder is not root's."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    home.give(path)
    return os.fdopen(descriptor, "wb")
