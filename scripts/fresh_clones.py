"""Do in fresh clones what a newcomer does, while newer releases of everything wait to be taken by mistake.

usage: fresh_clones.py [--whole]

    clone ─▶ make run, until the sample feed is synced; Ctrl-C ─▶ make setup ─▶ installed = locked? ─▶ make test

| clone  | who              | pip                                   |
|--------|------------------|---------------------------------------|
| own    | who calls this   | the one that Python 3.11 brings along |
| debian | an ordinary user | Debian's                              |
| newest | who calls this   | the newest one                        |

pip is pointed (PIP_FIND_LINKS) to a folder with an empty release 9999 of every locked package: whatever resolves a
requirement takes one of them, and fails. All three at once with a part of the tests; `--whole`: all of the tests, one
clone after the other.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SYNCED = "serving; Ctrl-C stops everything"
STEP_S = 900
TESTS = (
    "tests/unit/test_locks.py",
    "tests/integration/test_migrations.py",
    "tests/integration/test_stock_arq.py",
    "tests/e2e/test_by_hand.py",
)
IS_LOCKED = """
import importlib.metadata, sys
from packaging.requirements import Requirement
lines = open("requirements-dev.lock").read().replace("\\\\\\n", " ").splitlines()
pins = [Requirement(line.split(" --hash")[0]) for line in lines if line[:1].isalnum()]
here = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
wrong = [str(pin) for pin in here if not pin.specifier.contains(importlib.metadata.version(pin.name), prereleases=True)]
print(f"{len(here) - len(wrong)} of {len(here)} packages are those of the lock file", *wrong)
sys.exit(bool(wrong) or len(here) < 100)
"""


@dataclass(frozen=True)
class Newcomer:
    """Who tries it: `python` makes the environment; `uid` None is who calls this."""

    name: str
    python: str
    folder: Path
    env: dict[str, str]
    uid: int | None = None
    newest_pip: bool = False

    @property
    def clone(self) -> Path:
        """Where it has its clone."""
        return self.folder / self.name

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in the clone, as a process group of its own, as a terminal does."""
        return subprocess.Popen(
            command,
            cwd=self.clone,
            env=self.env,
            user=self.uid,
            group=self.uid,
            extra_groups=None if self.uid is None else [],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def do(self, *command: str) -> str:
        """Run a command to its end; its output. Raises SystemExit when it fails."""
        process = self.start(*command)
        try:
            said, _ = process.communicate(timeout=STEP_S)
        finally:
            end_group(process)
        if process.returncode != 0:
            raise SystemExit(f"{self.name}: {' '.join(command)[:60]} ended with {process.returncode}\n{told(said)}")
        return said


def end_group(process: subprocess.Popen[str]) -> None:
    """Leave nothing behind of a command that failed or took too long."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def told(said: str) -> str:
    """Without what pip says of folders that this machine's own configuration names and does not have."""
    return "\n".join(line for line in said.splitlines() if "is ignored: it is neither" not in line)


def make_newer_releases(folder: Path) -> None:
    """An empty wheel 9999 of every locked package."""
    folder.mkdir()
    for name in re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements-dev.lock").read_text(), re.MULTILINE):
        plain = re.sub(r"[-_.]+", "_", name).lower()
        info = f"{plain}-9999.dist-info"
        with zipfile.ZipFile(folder / f"{plain}-9999-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 9999\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", f"{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


def clone(newcomer: Newcomer) -> None:
    """A clone of what is committed, owned by the newcomer."""
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(newcomer.clone)], check=True)
    if newcomer.uid is not None:
        subprocess.run(["chown", "-R", str(newcomer.uid), str(newcomer.clone)], check=True)


def sync_the_sample_feed(newcomer: Newcomer) -> str:
    """`make run` until everything is synced, then Ctrl-C; what it says of the sync."""
    process = newcomer.start("make", "run", "ARGS=--port 0", f"PYTHON={newcomer.python}")
    too_long = threading.Timer(STEP_S, os.killpg, (process.pid, signal.SIGKILL))
    too_long.start()
    lines: list[str] = []
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.append(line)
            if SYNCED in line:
                os.killpg(process.pid, signal.SIGINT)
        process.wait(30)
    finally:
        too_long.cancel()
        end_group(process)
    said = "".join(lines)
    # make itself says 2 or 130 when Ctrl-C reaches it before its command has ended.
    if SYNCED not in said or "synced 3 suppliers" not in said or process.returncode not in {0, 2, 130, -signal.SIGINT}:
        raise SystemExit(f"{newcomer.name}: make run ended with {process.returncode}\n{told(said)}")
    return next(line.strip() for line in lines if "synced 3 suppliers" in line)


def go_through(newcomer: Newcomer, tests: str) -> str:
    """Everything, from the clone on; raises SystemExit at what fails."""
    clone(newcomer)
    if newcomer.newest_pip:
        newcomer.do(newcomer.python, "-m", "venv", "--upgrade-deps", ".venv")

    def timed(what: str, step: Callable[[], str]) -> str:
        began = time.monotonic()
        said = step()
        print(f"{newcomer.name}: {what}: {said} ({time.monotonic() - began:.0f} s)", flush=True)
        return said

    timed("make run", lambda: sync_the_sample_feed(newcomer))
    timed("make setup", lambda: newcomer.do("make", "setup", f"PYTHON={newcomer.python}").splitlines()[-1])
    timed("pip", lambda: newcomer.do(".venv/bin/python", "-m", "pip", "--version").strip())
    timed("installed", lambda: newcomer.do(".venv/bin/python", "-c", IS_LOCKED).strip())
    return timed("make test", lambda: newcomer.do("make", "test", f"ARGS={tests}").splitlines()[-1])


def newcomers(folder: Path, settings: dict[str, str]) -> list[Newcomer]:
    """The three of them. Without being root, the ordinary user is who calls this."""
    dropped = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VIRTUAL_ENV", "PYTHONPATH"}
    links = f"{folder / 'newer'} {os.environ.get('PIP_FIND_LINKS', '')}".strip()
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    env = kept | settings | {"PIP_FIND_LINKS": links}
    nobody = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
    home = folder / "home"
    home.mkdir()
    if nobody is not None:
        os.chown(home, nobody, nobody)
    users = env | {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "USER": "nobody"}
    own = shutil.which("python3.11") or sys.executable
    return [
        Newcomer("own", own, folder, env),
        Newcomer("debian", "/usr/bin/python3", folder, users, uid=nobody),
        Newcomer("newest", own, folder, env, newest_pip=True),
    ]


def main() -> None:
    """Go through all three; the exit code is 1 when one of them fails."""
    whole = "--whole" in sys.argv[1:]
    at_once, tests, settings = (1, "", {}) if whole else (3, " ".join(TESTS), {"TEST_PROCESSES": "2"})
    folder = Path(tempfile.mkdtemp(prefix="fresh-clones-"))
    folder.chmod(0o755)
    began = time.monotonic()
    try:
        make_newer_releases(folder / "newer")
        with ThreadPoolExecutor(at_once) as pool:
            asked = [pool.submit(go_through, newcomer, tests) for newcomer in newcomers(folder, settings)]
            failed = [str(error) for one in asked if (error := one.exception())]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"fresh clones: {3 - len(failed)} of 3 are right after {time.monotonic() - began:.0f} s")
    if failed:
        raise SystemExit("\n".join(failed))


if __name__ == "__main__":
    main()
