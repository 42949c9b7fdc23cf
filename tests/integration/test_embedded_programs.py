"""Programs that the server's user cannot reach are copied to where it can."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from app.cli.embedded.home import EmbeddedServerError, Home
from app.cli.embedded.programs import package_folder, reachable

STRANGER = 65_534


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel's folder with modes that let nobody else in."""
    folder = tmp_path / "site-packages"
    for name, text in {"server/bin/serve": "one", "server/share/words": "two", "server/share/big.a": "three"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    folder.chmod(0o700)
    return folder


def reach(home: Path, wheel: Path, uid: int | None) -> Path:
    needed = ["server/bin/serve", "server/share"]
    return reachable(Home(home, uid, home), wheel, needed, [wheel / "server/bin/serve"])


def test_programs_of_our_own_user_are_used_where_they_are(wheel: Path, tmp_path: Path) -> None:
    assert reach(tmp_path, wheel, None) == wheel


def test_a_copy_holds_what_is_needed_for_everybody_to_run(wheel: Path, tmp_path: Path) -> None:
    copy = reach(tmp_path, wheel, STRANGER)
    assert copy.parent == tmp_path
    files = {str(path.relative_to(copy)): path for path in copy.rglob("*") if path.is_file()}
    assert set(files) == {"server/bin/serve", "server/share/words"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (copy, *copy.rglob("*"))} == {0o755}
    assert stat.S_IMODE(wheel.stat().st_mode) == 0o700


def test_a_copy_is_kept_until_the_programs_change(wheel: Path, tmp_path: Path) -> None:
    first = reach(tmp_path, wheel, STRANGER)
    assert reach(tmp_path, wheel, STRANGER) == first
    program = wheel / "server/bin/serve"
    program.write_text("changed")
    os.utime(program, ns=(1, program.stat().st_mtime_ns + 1_000_000_000))
    second = reach(tmp_path, wheel, STRANGER)
    assert (second / "server/bin/serve").read_text() == "changed"
    assert not first.exists()


def test_a_wheel_that_is_not_there_says_what_to_install_or_set() -> None:
    with pytest.raises(EmbeddedServerError, match=r"install promidata-sync\[embedded\], or set REDIS_URL"):
        package_folder("no_such_wheel", "REDIS_URL")
