"""The release that the next one is upgraded from: its code as git keeps it, run with what is installed here.

A new release puts its own tag, commit and revision here (docs/operations.md, "Releasing").
"""

from __future__ import annotations

import asyncio
import io
import signal
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.worker_stack import until

TAG = "v0.1.0"
COMMIT = "8c37571b3fad2dab2728df538cf480c8613cb975"
"""The tag's commit: a clone may have come without tags."""
REVISION = "0010"
"""Its newest migration."""
ROOT = Path(__file__).resolve().parents[2]


def release_code(folder: Path) -> Path:
    """The release's files, unpacked into `folder`."""
    packed = subprocess.run(["git", "-C", str(ROOT), "archive", COMMIT], capture_output=True, check=False)
    why = packed.stderr.decode(errors="replace").strip()
    assert packed.returncode == 0, (
        f"{TAG} ({COMMIT[:7]}) is not in this clone: upgrades are tried from its code, which needs git and the whole "
        f"history (`git fetch --unshallow`). git says: {why}"
    )
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@dataclass(frozen=True, eq=False)
class Program:
    """A `promidata-sync` of some version, as a process of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    async def says(self, words: str, timeout_s: float = 90.0) -> None:
        """Wait until it has said these words."""
        await until(lambda: words in self.said() or self.process.poll() is not None, timeout_s)
        assert words in self.said(), self.said()[-3000:]

    async def ends(self, timeout_s: float = 60.0) -> int:
        """Its exit code, once it has ended."""
        return await asyncio.to_thread(self.process.wait, timeout_s)

    async def stops(self) -> int:
        """Its exit code after a SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return await self.ends()


def start_program(log: Path, code: Path, environment: Mapping[str, str], *arguments: str) -> Program:
    """Start the command of the code in `code`; what it says goes to `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "app.cli.main", *arguments],
            env={**environment, "PYTHONPATH": str(code)},
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    return Program(process, log)
