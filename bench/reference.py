"""The bare loop that a cold sync is measured against (DESIGN.md, F3): the same bytes, and nothing that a sync promises.

    documents   GET ─▶ parse the JSON ─▶ one insert of the family's variants
    pictures    GET ─▶ sha256 ─▶ Pillow load ─▶ write a file

No queue, no ledger, no diff, no limits, no checks: what is left is what nobody can do without.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import msgspec
import orjson
from PIL import Image

from bench.ground import Feed, Ground, plain_url
from bench.meters import CostMeter

CONNECTIONS = 10
TABLE = "CREATE TABLE bench_reference (sku text PRIMARY KEY, content jsonb NOT NULL)"
INSERT = "INSERT INTO bench_reference SELECT * FROM unnest($1::text[], $2::jsonb[])"
PICTURE = re.compile(rb'http://[^"\\]+?/Images/LiveR2/[^"\\]+')


@dataclass(frozen=True)
class Reference:
    """CPU seconds an item: of the loop with PostgreSQL's share, and of the origin beside it."""

    documents: int
    pictures: int
    document_cpu_s: float
    picture_cpu_s: float
    origin_cpu_s: float
    """Of the feed server, for all documents and pictures together."""


async def measure_reference(ground: Ground, feed: Feed, own_pid: int) -> Reference:
    """Run the loop over the whole feed; the feed's caches are warm afterwards."""
    pids = {"loop": own_pid, "PostgreSQL": ground.servers.postgres.pid, "origin": feed.process.pid}
    pool = await asyncpg.create_pool(plain_url(ground.database_url), min_size=4, max_size=4)
    await pool.execute(TABLE)
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with pool, aiohttp.ClientSession(connector=connector) as session:
        lines = (await _get(session, f"{feed.base_url}/Import/Import.txt")).decode().splitlines()
        urls = [line.partition("|")[0] for line in lines if ".json" in line]
        addresses = await _warm_up(session, urls)
        with CostMeter(pids) as documents:
            await _each(urls, lambda url: _document(session, pool, url))
        with CostMeter(pids) as pictures:
            await _each(addresses, lambda url: _picture(session, url, ground.folder / "reference"))
    await ground.rows("DROP TABLE bench_reference")
    return Reference(
        len(urls),
        len(addresses),
        (documents.costs["loop"].cpu_s + documents.costs["PostgreSQL"].cpu_s) / len(urls),
        pictures.costs["loop"].cpu_s / max(1, len(addresses)),
        documents.costs["origin"].cpu_s + pictures.costs["origin"].cpu_s,
    )


async def _warm_up(session: aiohttp.ClientSession, urls: Iterable[str]) -> list[str]:
    """Have the feed make everything once; the pictures' addresses."""
    found: set[str] = set()
    for url in urls:
        found |= {address.decode() for address in PICTURE.findall(await _get(session, url))}
    addresses = sorted(found)
    for address in addresses[:100]:
        await _get(session, address)
    return addresses


async def _each(items: Iterable[str], work: Callable[[str], Awaitable[None]]) -> None:
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(worker())


async def _get(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url) as answer:
        answer.raise_for_status()
        return await answer.read()


async def _document(session: aiohttp.ClientSession, pool: asyncpg.Pool, url: str) -> None:
    document = msgspec.json.decode(await _get(session, url))
    children: list[dict[str, Any]] = document.get("ChildProducts") or []
    for child in children:
        child.pop("ImprintPositions", None)
    await pool.execute(
        INSERT, [child["Sku"] for child in children], [orjson.dumps(child).decode() for child in children]
    )


async def _picture(session: aiohttp.ClientSession, url: str, folder: Path) -> None:
    body = await _get(session, url)
    name = hashlib.sha256(body).hexdigest()
    with Image.open(io.BytesIO(body)) as picture:
        picture.load()
    _put(folder / name, body)


def _put(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
