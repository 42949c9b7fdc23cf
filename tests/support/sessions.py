"""Watches from outside how many sessions of PostgreSQL each process has."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import psutil

PORTS = "SELECT client_port, inet_server_port() AS ours FROM pg_stat_activity WHERE usename = $1 AND client_port > 0"


@dataclass
class Watch:
    """What was seen since it began."""

    most: Counter[int] = field(default_factory=Counter)
    """Most sessions at one moment, by process id."""
    most_together: int = 0
    looks: int = 0

    def note(self, by_process: Counter[int]) -> None:
        self.looks += 1
        self.most |= by_process
        self.most_together = max(self.most_together, by_process.total())


@asynccontextmanager
async def watched(url: str, user: str, pids: list[int], every_s: float = 0.05) -> AsyncIterator[Watch]:
    """Look again and again until the block ends."""
    watch = Watch()
    server = await asyncpg.connect(url.replace("postgresql+asyncpg://", "postgresql://"))

    async def look() -> None:
        while True:
            watch.note(await sessions_by_process(server, user, pids))
            await asyncio.sleep(every_s)

    looking = asyncio.ensure_future(look())
    try:
        yield watch
        looking.cancel()
        await asyncio.wait([looking])
        assert looking.cancelled(), looking.exception()
    finally:
        looking.cancel()
        await server.close()


async def sessions_by_process(server: asyncpg.Connection, user: str, pids: list[int]) -> Counter[int]:
    """The server's sessions of `user`, by the process that holds the other end."""
    ends = {(row["client_port"], row["ours"]) for row in await server.fetch(PORTS, user)}
    return await asyncio.to_thread(_held, pids, ends)


def _held(pids: list[int], ends: set[tuple[int, int]]) -> Counter[int]:
    """By both ports: a connection to Redis may have the same one on this side."""
    held: Counter[int] = Counter()
    for pid in pids:
        found = (end for end in psutil.Process(pid).net_connections("tcp") if end.laddr and end.raddr)
        held[pid] = sum((end.laddr.port, end.raddr.port) in ends for end in found)
    return held
