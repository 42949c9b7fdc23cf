"""Write docs/life-of-a-document.md: one document from the manifest to the shop, with the SQL, messages and times.

    python -m bench.life

A feed of one family, a queued sync of it by the three workers, on servers of its own. What is written is what was seen:
requests in the origin's log, statements in PostgreSQL's, commands in Redis's MONITOR, put in one order by their times.
What idle workers do all the time was seen before the sync and is left out.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
from redis.asyncio import Redis

from app.sync.operating.discovery import discover
from app.sync.operating.start import StartRequest, start_queued
from bench.ground import Feed, Ground, Servers, execute, fresh_ground, running_servers, serving_feed, until, workers

PAGE = Path(__file__).parents[1] / "docs" / "life-of-a-document.md"
QUEUES = ("supplier-sync", "product-family", "image-upload")
FEED = ("--uniform", "--suppliers", "2", "--families", "1", "--variants", "2", "--pictures", "1", "--small")
IDLE_S = 8.0
"""For how long idle workers are watched: longer than the slowest of their chores takes to come round."""
SHOWN = 240
"""Characters of a statement; the whole stands in the module that sends it."""
NOT_OURS = re.compile(
    r"try-…|promidata:worker|typeinfo_tree|'jit'|pg_advisory_unlock_all|RESET ALL|^SELECT 1 WHERE NOT EXISTS"
)
"""Heartbeats, what a new connection asks for, what Redis is tried with, and this program's own looks."""
LOGGED = re.compile(
    r"^(?P<at>[-0-9]+ [0-9:.]+) UTC \[\d+\] LOG:  duration: (?P<ms>[0-9.]+) ms  "
    r"(?:execute [^:]*|statement): (?P<sql>.*)"
)
HEAD = """# The life of a document

One family of two variants, with a picture each, from the manifest to the shop. Written by `python -m bench.life` from
what was seen on {day}: requests in the origin's log, statements in PostgreSQL's (with what each took there), commands
in Redis's MONITOR. Times are milliseconds since the call; another supplier was synced before. What idle workers do all
the time is left out, and statements are cut to {shown} characters: the tree in the [README](../README.md) says where
each comes from.

| ms | where | what | took ms |
|---:|---|---|---:|
"""


@dataclass(frozen=True, order=True)
class Seen:
    """One thing that happened: when, in seconds since 1970, where, what, and what it took where that is known."""

    at: float
    where: str
    what: str
    took_ms: float | None = None


def main() -> int:
    """Run the sync, and write the page."""
    with running_servers() as servers, serving_feed(*FEED) as feed:
        began, seen = asyncio.run(_watch(servers, feed))
    lines = [_line(one, began) for one in seen]
    PAGE.write_text(HEAD.format(day=f"{datetime.now(UTC):%Y-%m-%d}", shown=SHOWN) + "\n".join(lines) + "\n")
    print(f"wrote {PAGE} ({len(lines)} lines)", file=sys.stderr)
    return 0


def _line(one: Seen, began: float) -> str:
    what = one.what.replace("|", "\\|").replace("`", "'")
    took = "" if one.took_ms is None else f"{one.took_ms:.1f}"
    return f"| {(one.at - began) * 1000:.0f} | {one.where} | `{what}` | {took} |"


async def _watch(servers: Servers, feed: Feed) -> tuple[float, list[Seen]]:
    """Let the workers idle, sync, read it as a shop; returns when it was called, and what was seen from then on."""
    await execute(
        servers.postgres.url,
        "ALTER SYSTEM SET log_line_prefix = '%m [%p] '",
        "ALTER SYSTEM SET log_min_duration_statement = 0",
        "SELECT pg_reload_conf()",
    )
    async with fresh_ground(servers, feed.base_url) as ground, workers(ground, QUEUES):
        first, second = (await discover(ground.services)).codes
        await start_queued(ground.services, StartRequest(first))
        await until(lambda: _is_over(ground))
        monitored: list[Seen] = []
        monitor = asyncio.create_task(_monitor(servers.valkey.url, monitored))
        idle_from = datetime.now(UTC).timestamp()
        await asyncio.sleep(IDLE_S)
        feed.forget_requests()
        began = datetime.now(UTC).timestamp()
        await start_queued(ground.services, StartRequest(second))
        await until(lambda: _is_over(ground))
        ended = datetime.now(UTC).timestamp()
        monitor.cancel()
        with suppress(asyncio.CancelledError):
            await monitor
    log = (servers.postgres.home.path / "server.log").read_text(errors="replace")
    seen = [*_statements(log), *monitored]
    idle = {one.what for one in seen if idle_from <= one.at < began}
    mine = [one for one in seen if began <= one.at <= ended and one.what not in idle and not NOT_OURS.search(one.what)]
    return began, sorted([*mine, *_requests(feed)])


async def _is_over(ground: Ground) -> bool:
    unfinished = "SELECT FROM runs WHERE finished_at IS NULL) AND NOT EXISTS (SELECT FROM changes WHERE seq IS NULL"
    return bool(await ground.rows(f"SELECT 1 WHERE NOT EXISTS ({unfinished})"))


async def _monitor(url: str, into: list[Seen]) -> None:
    async with Redis.from_url(url) as redis, redis.monitor() as monitor:
        async for command in monitor.listen():
            if command["client_type"] == "lua":
                continue  # what a script does is part of it
            words = re.sub(r"[0-9a-f]{32,40}", "…", str(command["command"]))
            into.append(Seen(command["time"], "Redis", words[:SHOWN]))


def _statements(log: str) -> Iterator[Seen]:
    """The statements of a server's log, whose continued lines begin with a tab."""
    for entry in re.split(r"\n(?=[0-9]{4}-)", log):
        found = LOGGED.match(entry.replace("\n\t", " "))
        if found is None:
            continue
        sql = " ".join(found["sql"].split())
        ended = datetime.strptime(f"{found['at']}+0000", "%Y-%m-%d %H:%M:%S.%f%z").timestamp()
        took_ms = float(found["ms"])
        yield Seen(ended - took_ms / 1000, "PostgreSQL", sql[:SHOWN] + ("…" if len(sql) > SHOWN else ""), took_ms)


def _requests(feed: Feed) -> Sequence[Seen]:
    answer = httpx.get(f"{feed.control}/requests").raise_for_status().json()
    return [Seen(one["at"], "origin", f"{one['method']} {one['path']} {one['status']}") for one in answer["requests"]]


if __name__ == "__main__":
    sys.exit(main())
