"""The API as a process of its own, as it runs in production, but forked (forked.py)."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn.main

from app.cli.main import main
from tests.support.forked import start_command
from tests.support.receiver import free_port


@asynccontextmanager
async def api_process(
    folder: Path, environment: Mapping[str, str], *, port: int | None = None
) -> AsyncIterator[tuple[str, int]]:
    """Gives its address and its pid once it listens, on a free port or on this one."""
    port, log = port or free_port(), folder / "api.log"
    everything = {**os.environ, **environment, "PORT": str(port)}
    process = start_command(["api"], everything, Path.cwd(), log, log)
    assert process.pid is not None
    try:
        async with asyncio.timeout(60):
            while not await listens(port):
                assert process.is_alive(), log.read_text()
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.kill()
        await asyncio.to_thread(process.join, 10)


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def limited_api(open_files: str) -> None:
    """`promidata-sync api` with so many descriptors at most, for `start_call`."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(open_files), int(open_files)))
    sys.exit(main(["api"]))


def stock_api(folder: str, *arguments: str) -> None:
    """`uvicorn app.main:app` in `folder`, for `start_call`."""
    os.chdir(folder)
    uvicorn.main.main(["app.main:app", *arguments])
