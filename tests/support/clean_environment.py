"""The wheel, installed in an environment of its own as a server would have it, and commands in it as somebody else.

clone ─▶ hatchling ─▶ wheel ┐
requirements-run.lock ──────┴▶ environment, whose packages who runs it may read and not write
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from app.cli.embedded.home import can_reach
from tests.support.command_line import Ended

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


@dataclass(frozen=True)
class Installed:
    """An installed package. `uid` is who runs its commands, None who we are; `elsewhere` is a folder of theirs."""

    home: Path
    elsewhere: Path
    uid: int | None

    async def start(self, env: dict[str, str], *command: str) -> asyncio.subprocess.Process:
        """Start one of the environment's commands in `elsewhere`; its output is piped."""
        return await asyncio.create_subprocess_exec(
            self.home / "bin" / command[0],
            *command[1:],
            cwd=self.elsewhere,
            env=env | {"HOME": str(self.elsewhere), "PATH": f"{self.home}/bin:/usr/bin:/bin"},
            user=self.uid,
            group=self.uid,
            extra_groups=None if self.uid is None else [],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def do(self, env: dict[str, str], *command: str, timeout_s: float = 180) -> Ended:
        """Run one of them to its end."""
        process = await self.start(env, *command)
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())


def _who() -> tuple[int | None, str]:
    """Who runs the commands, and by which Python: `nobody` when we are root and there is a Python for everybody."""
    ours = os.path.realpath(sys.executable)
    if os.geteuid() != 0:
        return None, ours
    nobody = pwd.getpwnam("nobody").pw_uid
    minor = f"python3.{sys.version_info.minor}"
    others = [shutil.which(name, path="/usr/local/bin:/usr/bin:/bin") for name in (minor, "python3")]
    for python in (ours, *others):
        if python is not None and can_reach(nobody, [Path(python).parent, Path(python)]):
            return nobody, python
    return None, ours


def _run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True, timeout=300)


def _close(folder: Path) -> None:
    """Nobody but root may write into these folders. Their files may be shared with a cache and stay as they are."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o555)


def _open(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)


@contextmanager
def installed_wheel() -> Iterator[Installed]:
    """Build the wheel, install it with what the lock file has for it; removed in the end."""
    folder = Path(mkdtemp(prefix="promidata-installed-", dir="/var/tmp"))
    folder.chmod(0o755)
    uid, python = _who()
    installed = Installed(folder / "env", folder / "elsewhere", uid)
    try:
        _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "dist")
        _run(UV, "venv", "-q", "--no-project", "--python", python, installed.home)
        into = (UV, "pip", "install", "-q", "--python", installed.home, "--no-deps")
        _run(*into, "--compile-bytecode", "--require-hashes", "-r", "requirements-run.lock")
        _run(*into, "--compile-bytecode", "--offline", *(folder / "dist").glob("*.whl"))
        _run(UV, "pip", "check", "-q", "--python", installed.home)
        installed.elsewhere.mkdir()
        if uid is not None:
            os.chown(installed.elsewhere, uid, uid)
        _close(installed.home)
        yield installed
    finally:
        _open(installed.home)
        shutil.rmtree(folder)
