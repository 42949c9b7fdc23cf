"""Find a server's programs in its wheel, or copy them to where the server's user can reach them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from app.cli.embedded.home import EmbeddedServerError, Home, can_reach

_NOT_NEEDED = shutil.ignore_patterns("pgxs", "*.a")


def package_folder(package: str, instead: str) -> Path:
    """Return the folder of an installed package, without importing it.

    Raises:
        EmbeddedServerError: it is not installed; `instead` is the variable that makes it unnecessary.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise EmbeddedServerError(f"{package} is not installed: install promidata-sync[embedded], or set {instead}")
    return Path(spec.origin).parent


def reachable(home: Home, tree: Path, needed: Sequence[str], probe: Sequence[Path]) -> Path:
    """Return the folder `tree`, or a copy of its `needed` parts in `home` where the server's user cannot reach it.

    `probe` are paths that this user must be able to read. The copy is made anew when the programs changed.
    """
    if home.uid is None or can_reach(home.uid, probe):
        return tree
    copy = home.path / f"programs-{probe[0].stat().st_mtime_ns}"
    if not copy.exists():
        for old in home.path.glob("programs-*"):
            shutil.rmtree(old)
        _copy(tree, needed, copy.with_name("programs-unfinished")).rename(copy)
    return copy


def _copy(tree: Path, needed: Sequence[str], target: Path) -> Path:
    """Copy for everybody to read and run (the originals may be closed); the folder around the copy is not open."""
    for part in needed:
        place = target / part
        if (tree / part).is_dir():
            shutil.copytree(tree / part, place, ignore=_NOT_NEEDED)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tree / part, place)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755)
    return target
