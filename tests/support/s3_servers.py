"""Real S3 servers for the store's tests: moto's and rclone's, which fail on different behaviours.

Both listen on 127.0.0.1 alone, hold one bucket, and die with the block that started them.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from app.settings import Settings

ACCESS_KEY, SECRET_KEY, BUCKET = "test-access-key", "test-secret-key", "pictures"
START_TIMEOUT_S = 30


@contextmanager
def moto_server() -> Iterator[str]:
    """moto's S3; gives its endpoint, with the bucket made."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _running(command, port):
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")).close()
        yield f"http://127.0.0.1:{port}"


@contextmanager
def rclone_server(folder: Path) -> Iterator[str]:
    """rclone's S3 over `folder`; gives its endpoint, with the bucket made."""
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    port = free_port()
    rclone = shutil.which("rclone", path=str(Path(sys.executable).parent)) or "rclone"
    command = [rclone, "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}"]
    command += ["--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--config", os.devnull, "--vfs-cache-mode", "off"]
    with _running(command, port):
        yield f"http://127.0.0.1:{port}"


def s3_settings(endpoint: str, **changes: object) -> Settings:
    """Settings for the bucket behind `endpoint`, without the environment's."""
    values: dict[str, object] = {
        "s3_endpoint_url": endpoint,
        "s3_bucket": BUCKET,
        "s3_access_key_id": ACCESS_KEY,
        "s3_secret_access_key": SECRET_KEY,
        "s3_region": "us-east-1",
        **changes,
    }
    return Settings(_env_file=None, **values)  # type: ignore[arg-type]


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listened on a moment ago."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up_at:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
        except urllib.error.HTTPError as answered:
            answered.close()
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{process.args!r} did not start within {START_TIMEOUT_S} s")
