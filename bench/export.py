"""The whole catalogue as NDJSON: how many products a second, when the first line comes, what it costs (F11).

    a few real documents synced ─▶ their rows copied by SQL ─▶ the API as a process on one core ─▶ read to the end

The documents have three variants and are as large as real ones. What is read is kept as it comes and unpacked when the
clock stands, so the reader costs little and runs on another core.
"""

from __future__ import annotations

import asyncio
import os
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO

import aiohttp
import httpx
import psutil
import zstandard

from app.sync.operating.discovery import discover
from app.sync.operating.start import StartRequest
from app.sync.running.direct import sync_direct
from bench.api_process import serving_api
from bench.export_beside import Beside, measure_beside
from bench.ground import Ground, Process, Servers, fresh_ground, serving_feed
from bench.report import Figure, Section, Table

PRODUCTS, QUICK_PRODUCTS = 20_000, 300
FAMILIES, VARIANTS, DOCUMENT_BYTES = 40, 3, 110_000
PIECE_BYTES = 2**20
LOOK_EVERY_S = 0.02
"""At the memory of the API."""
SUPPLIERS = ("A23", "A360")
"""Whose products are copied and read, and who is synced beside that."""
KEY = "bench-export-of-16-chars"
COPY = """
CREATE TEMP TABLE origin AS SELECT *, row_number() OVER (ORDER BY id) - 1 AS number FROM products;
CREATE TEMP TABLE origins AS SELECT count(*) AS many FROM origin;
ALTER TABLE products DISABLE TRIGGER USER; ALTER TABLE variants DISABLE TRIGGER USER;
INSERT INTO products (supplier_id, sku, status, content, content_digest, applied_version)
SELECT o.supplier_id, lpad(CAST(n AS text), 7, '0') || '-' || o.sku, 'active', o.content, o.content_digest, 1
FROM generate_series(1, {products}) n, origins, origin o WHERE o.number = n % origins.many;
CREATE TEMP TABLE copied AS SELECT p.id, o.id AS origin, left(p.sku, 8) AS prefix
FROM products p JOIN origin o ON p.sku = left(p.sku, 8) || o.sku;
CREATE INDEX ON copied (origin);
INSERT INTO variants (supplier_id, sku, product_id, status, position, is_primary, content, content_digest,
    prices_digest, imprint_digest, pictures_digest, generation, shown_generation)
SELECT v.supplier_id, c.prefix || v.sku, c.id, v.status, v.position, v.is_primary, v.content, v.content_digest,
    v.prices_digest, v.imprint_digest, v.pictures_digest, 1, 1
FROM copied c JOIN variants v ON v.product_id = c.origin;
CREATE TEMP TABLE many AS SELECT n.id, v.id AS origin, v.shown_generation, v.generation
FROM copied c JOIN variants n ON n.product_id = c.id JOIN variants v ON v.product_id = c.origin
  AND n.sku = c.prefix || v.sku;
INSERT INTO prices SELECT m.id, p.tiers FROM many m JOIN prices p ON p.variant_id = m.origin;
INSERT INTO imprint_positions
SELECT m.id, i.packed FROM many m JOIN imprint_positions i ON i.variant_id = m.origin;
INSERT INTO shown_pictures
SELECT m.id, 1, s.position, s.role, s.address_id FROM many m JOIN shown_pictures s ON s.variant_id = m.origin
WHERE s.generation = CASE WHEN m.shown_generation > 0 THEN m.shown_generation ELSE m.generation END;
INSERT INTO product_versions SELECT id, 1 FROM copied;
ALTER TABLE products ENABLE TRIGGER USER; ALTER TABLE variants ENABLE TRIGGER USER
"""


@dataclass
class Reading:
    """One export, read to its end."""

    products: int = 0
    bytes: int = 0
    first_line_s: float = 0.0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    """Of the API's process."""
    before_mb: float = 0.0
    peak_mb: float = 0.0

    @property
    def a_second(self) -> float:
        """Products."""
        return self.products / self.wall_s


def measure(servers: Servers, *, quick: bool, products: int | None = None) -> Section:
    """Fill the tables, and read the export in each encoding."""
    number = products or (QUICK_PRODUCTS if quick else PRODUCTS)
    return asyncio.run(_measure(servers, number))


async def _measure(servers: Servers, products: int) -> Section:
    options = (
        "--suppliers",
        str(len(SUPPLIERS)),
        "--families",
        str(FAMILIES),
        "--variants",
        str(VARIANTS),
        "--small-pictures",
        "--document-bytes",
        str(DOCUMENT_BYTES),
    )
    keys = {"API_KEYS": f"shop:operator:{KEY},reader:viewer:{KEY}-reader"}
    with serving_feed(*options) as feed:
        async with fresh_ground(servers, feed.base_url, settings=keys) as ground:
            await discover(ground.services)
            await sync_direct(ground.services, StartRequest(supplier=SUPPLIERS[0]))
            await _fill(ground, products)
            async with _api(ground) as (base, process):
                whole = await _one_product(base)
                readings = {
                    "identity": await _read(base, process, "identity", KEY),
                    "zstd": await _read(base, process, "zstd", KEY),
                    "gzip": await _read(base, process, "gzip", KEY),
                    "zstd, viewer": await _read(base, process, "zstd", f"{KEY}-reader"),
                }
                unchanged_s = await _unchanged(base)
            async with serving_api(ground) as (base, _), _reader(base, "zstd", KEY) as reader:
                beside = await measure_beside(ground, reader, SUPPLIERS[1])
    return _section(products, whole, readings, unchanged_s, beside)


async def _fill(ground: Ground, products: int) -> None:
    async with ground.pool.acquire() as connection, connection.transaction():
        await connection.execute(COPY.format(products=products), timeout=600)
    await ground.pool.execute("VACUUM ANALYZE", timeout=600)


@asynccontextmanager
async def _api(ground: Ground) -> AsyncIterator[tuple[str, Process]]:
    """The API on the first core; this process on the others, where there are any."""
    async with serving_api(ground) as (base, process):
        cores = sorted(psutil.Process().cpu_affinity() or [0])
        psutil.Process(process.pid).cpu_affinity(cores[:1])
        yield base, process


async def _one_product(base: str) -> float:
    """Bytes of a product's answer without compression, on average over some."""
    headers = {"X-API-Key": KEY, "Accept-Encoding": "identity"}
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=60) as http:
        page = (await http.get("/api/v1/products", params={"limit": 40, "fields": "sku"})).json()
        sizes = [len((await http.get(f"/api/v1/products/{item['sku']}")).content) for item in page["items"]]
    return sum(sizes) / len(sizes)


async def _read(base: str, process: Process, encoding: str, key: str) -> Reading:
    watched = psutil.Process(process.pid)
    reading = Reading(before_mb=_mb(watched))
    cpu = sum(watched.cpu_times()[:2])
    began = time.monotonic()
    async with _reader(base, encoding, key) as http, http.get("/api/v1/products") as answer:
        with TemporaryFile() as packed:
            lines = _Lines(answer.headers.get("content-encoding", "identity"), packed)
            looked = 0.0
            async for piece in answer.content.iter_any():
                lines.take(piece)
                now = time.monotonic()
                reading.first_line_s = reading.first_line_s or (now - began if lines.seen else 0.0)
                reading.bytes += len(piece)
                if now - looked > LOOK_EVERY_S:
                    looked, reading.peak_mb = now, max(reading.peak_mb, _mb(watched))
            reading.wall_s = time.monotonic() - began
            reading.cpu_s = sum(watched.cpu_times()[:2]) - cpu
            reading.products = lines.counted()
    return reading


def _reader(base: str, encoding: str, key: str) -> aiohttp.ClientSession:
    """One that costs little beside what is measured: httpx took a seventh of the speed, on PostgreSQL's core."""
    headers = {"X-API-Key": key, "Accept": "application/x-ndjson", "Accept-Encoding": encoding}
    timeout = aiohttp.ClientTimeout(total=None, sock_read=120)
    return aiohttp.ClientSession(
        base, headers=headers, timeout=timeout, auto_decompress=False, read_bufsize=PIECE_BYTES, raise_for_status=True
    )


class _Lines:
    """Counts lines, through whatever they are packed in; what is packed is kept and counted when the clock stands.

    To unpack a hundred thousand real products takes a core as long as to send them takes the API.
    """

    def __init__(self, encoding: str, packed: IO[bytes]) -> None:
        self.seen = 0
        self._kept = packed if encoding in {"zstd", "gzip"} else None
        self._unpack: Callable[[bytes], bytes]
        if encoding == "zstd":
            unpack = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True)
            self._unpack = unpack.decompress
        elif encoding == "gzip":
            self._unpack = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress
        else:
            self._unpack = bytes

    def take(self, piece: bytes) -> None:
        """Some more of the body."""
        if self._kept is not None and self.seen:
            self._kept.write(piece)
        else:
            self.seen += self._unpack(piece).count(b"\n")

    def counted(self) -> int:
        """All lines, when the body is over."""
        if self._kept is not None:
            self._kept.seek(0)
            while piece := self._kept.read(PIECE_BYTES):
                self.seen += self._unpack(piece).count(b"\n")
        return self.seen


async def _unchanged(base: str) -> float:
    """Seconds of a second night on which nothing changed."""
    headers = {"X-API-Key": KEY, "Accept": "application/x-ndjson"}
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=60) as http:
        async with http.stream("GET", "/api/v1/products") as answer:
            etag = answer.headers["etag"]
        began = time.monotonic()
        again = await http.get("/api/v1/products", headers={"If-None-Match": etag})
        assert again.status_code == 304
        return time.monotonic() - began


def _mb(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


def _section(products: int, whole: float, readings: dict[str, Reading], unchanged_s: float, beside: Beside) -> Section:
    best = readings["zstd"]
    growth_mb = max(reading.peak_mb for reading in readings.values()) - readings["identity"].before_mb
    packed = best.bytes / best.products
    head = ("encoding", "products/s", "first line, ms", "CPU of the API, s", "bytes a product", "grew by, MB")
    rows = [
        [
            name,
            f"{one.a_second:,.0f}",
            f"{one.first_line_s * 1000:.0f}",
            f"{one.cpu_s:.1f} of {one.wall_s:.1f}",
            f"{one.bytes / one.products:,.0f}",
            f"{one.peak_mb - one.before_mb:.0f}",
        ]
        for name, one in readings.items()
    ]
    return Section(
        "The whole catalogue as NDJSON",
        f"{products:,} products of {VARIANTS} variants, copied by SQL from {FAMILIES} synced ones of real size "
        f"({whole / 1000:,.0f} KB each without compression); the API on one of {os.cpu_count()} cores.",
        tables=[Table(head, rows)],
        figures=[
            Figure("F11", "products a second", f"{best.a_second:,.0f}", ">= 3,000", best.a_second >= 3000),
            Figure("F11", "first line", f"{best.first_line_s * 1000:.0f} ms", "<= 200 ms", best.first_line_s <= 0.2),
            Figure("F11", "the API process grows by", f"{growth_mb:.0f} MB", "<= 50 MB", growth_mb <= 50),
            Figure("F11", "bytes a product, zstd / not", f"{packed / whole:.3f}", "<= 0.1", packed / whole <= 0.1),
            beside.figure(),
        ],
        remarks=[f"The same again, nothing changed: 304 after {unchanged_s * 1000:.0f} ms.", beside.remark(packed)],
    )
