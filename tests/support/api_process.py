"""The API as a process of its own, as it runs in production, but forked (forked.py)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

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
            while not await _listens(port):
                assert process.is_alive(), log.read_text()
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.kill()
        await asyncio.to_thread(process.join, 10)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
