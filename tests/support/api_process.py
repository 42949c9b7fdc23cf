"""The API as a process of its own, as it runs in production."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.receiver import free_port

RUN = "import sys; from app.cli.main import main; sys.exit(main())"


@asynccontextmanager
async def api_process(
    folder: Path, environment: Mapping[str, str], *, port: int | None = None
) -> AsyncIterator[tuple[str, int]]:
    """Gives its address and its pid once it listens, on a free port or on this one."""
    port, log = port or free_port(), folder / "api.log"
    process = _spawn(log, {**environment, "PORT": str(port)})
    try:
        async with asyncio.timeout(30):
            while not await _listens(port):
                assert process.poll() is None, log.read_text()
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.kill()
        await asyncio.to_thread(process.wait, 10)


def _spawn(log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-c", RUN, "api"], env={**os.environ, **environment}, stdout=output, stderr=output
        )


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
