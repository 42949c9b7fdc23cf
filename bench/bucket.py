"""A bucket on a local S3 server, rclone's: a process of its own, written in Go and cheap beside what is measured."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.cli.die_with_parent import wrap
from bench.ground import Process

ACCESS_KEY, SECRET_KEY, NAME = "bench-access-key", "bench-secret-key", "pictures"
READY_WITHIN_S = 30.0


@dataclass(frozen=True)
class Bucket:
    """Where it is, and the process that has it."""

    endpoint_url: str
    process: Process

    @property
    def env(self) -> dict[str, str]:
        """The settings that name it."""
        return {
            "S3_BUCKET": NAME,
            "S3_ENDPOINT_URL": self.endpoint_url,
            "S3_ACCESS_KEY_ID": ACCESS_KEY,
            "S3_SECRET_ACCESS_KEY": SECRET_KEY,
            "S3_REGION": "us-east-1",
        }


@contextmanager
def serving_bucket(folder: Path) -> Iterator[Bucket]:
    """An empty bucket in a new folder under `folder`, where it stays (see `running_servers`)."""
    folder = Path(tempfile.mkdtemp(prefix="bucket-", dir=folder))
    (folder / NAME).mkdir()
    port = _free_port()
    rclone = shutil.which("rclone", path=str(Path(sys.executable).parent)) or "rclone"
    command = [rclone, "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}"]
    command += ["--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--config", os.devnull, "--vfs-cache-mode", "off"]
    popen = subprocess.Popen(wrap(command, signum=signal.SIGKILL), stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    process = Process("object store", popen)
    try:
        _wait_for(port, popen)
        yield Bucket(f"http://127.0.0.1:{port}", process)
    finally:
        process.kill()


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, popen: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < give_up_at and popen.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the object store did not start")
