"""The whole catalogue as NDJSON: as of one moment, bounded, and a beginning that the change feed goes on from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from sqlalchemy import text

from app.api import ndjson
from app.persistence.database import Connection, Database
from app.samplefeed import FeedSpec, SampleFeed
from app.settings import Settings
from app.sync.running.numbering import number_all
from app.views.catalogue import Batch, read_products
from tests.conftest import MakeStack
from tests.support.api_client import ApiClient, api_client
from tests.support.pgbouncer import pgbouncer
from tests.support.stack import Servers, Stack, open_stack
from tests.support.waiting import eventually

LINES = {"Accept": "application/x-ndjson"}
PRODUCTS = "/api/v1/products"


@pytest.fixture(scope="module")
async def synced(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with open_stack(servers, tmp_path_factory.mktemp("stack"), database_pool_size=4) as stack:
        await stack.sync()
        await number_all(stack.services.database)
        yield stack


@pytest.fixture(scope="module")
async def api(synced: Stack) -> AsyncIterator[ApiClient]:
    async with api_client(synced.settings) as client:
        yield client


def parsed(body: str) -> list[dict[str, Any]]:
    assert body == "" or body.endswith("\n")
    return [json.loads(line) for line in body.splitlines()]


async def test_every_product_of_a_filter_comes_whole_one_a_line(api: ApiClient) -> None:
    for params in ({}, {"supplier": "A23"}, {"q": "a"}, {"sort": "updatedAt"}, {"status": "discontinued"}):
        answer = await api.http.get(PRODUCTS, params={**params, "limit": 1}, headers=LINES)
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert parsed(answer.text) == await api.all_pages("/products", expand="variants", limit=500, **params)
        assert int(answer.headers["x-changes-head"]) == (await api.get("/changes"))["head"] > 0
    await api.problem("GET", "/products", 404, params={"supplier": "nobody"}, headers=LINES)
    await api.problem("GET", "/products", 422, params={"cursor": "x"}, headers=LINES)
    unpaged = await api.http.get(PRODUCTS, params={"cursor": ""}, headers=LINES)
    assert unpaged.status_code == 200, "an empty cursor names no page, as on every list"


async def test_it_is_of_one_moment_whatever_is_committed_meanwhile(
    api: ApiClient, synced: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ndjson, "FIRST", 1)
    monkeypatch.setattr(ndjson, "AT_A_TIME", 1)
    expected = await api.all_pages("/products", expand="variants", limit=500)

    async def read_after_a_change(*args: Any) -> Any:
        async with synced.services.database.begin() as db:
            await db.execute(text("UPDATE products SET status = 'discontinued', updated_at = clock_timestamp()"))
        return await read_products(*args)

    monkeypatch.setattr(ndjson, "read_products", read_after_a_change)
    assert parsed((await api.http.get(PRODUCTS, headers=LINES)).text) == expected
    assert {item["status"] for item in await api.all_pages("/products", limit=500)} == {"discontinued"}


async def test_an_unchanged_second_night_is_a_304_and_an_empty_page(api: ApiClient) -> None:
    first = await api.http.get(PRODUCTS, headers=LINES)
    head = first.headers["x-changes-head"]
    second = await api.http.get(PRODUCTS, headers={**LINES, "If-None-Match": first.headers["etag"]})
    assert (second.status_code, second.content, second.headers["x-changes-head"]) == (304, b"", head)
    assert (await api.get("/changes", since=head))["items"] == []


async def test_whoever_has_read_an_export_finds_its_place_free(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four connections have room for one export at a time; giving one back takes a moment on a busy machine."""
    snapshot = Database.snapshot

    @asynccontextmanager
    async def given_back_late(database: Database, **options: Any) -> AsyncIterator[Connection]:
        async with snapshot(database, **options) as db:
            yield db
            await asyncio.sleep(0.3)

    monkeypatch.setattr(Database, "snapshot", given_back_late)
    monkeypatch.setattr(ndjson, "PLACE_WITHIN_S", 0)
    first = await api.http.get(PRODUCTS, headers=LINES)
    second = await api.http.get(PRODUCTS, headers={**LINES, "If-None-Match": first.headers["etag"]})
    third = await api.http.get(PRODUCTS, headers=LINES)
    assert (first.status_code, second.status_code, third.status_code) == (200, 304, 200)


async def test_more_readers_than_there_are_places_are_answered_one_after_the_other(api: ApiClient) -> None:
    """Four connections have room for one export."""
    answers = await asyncio.gather(*(api.http.get(PRODUCTS, headers=LINES) for _ in range(4)))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.text for answer in answers}) == 1


async def test_a_reader_that_does_not_read_is_cut_off_and_holds_up_nobody(
    api: ApiClient, synced: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four connections have room for one export; a second one is told to come back, everything else is answered.

    So is who has what would be exported: that takes no place.
    """
    unchanged = {**LINES, "If-None-Match": (await api.http.head(PRODUCTS, headers=LINES)).headers["etag"]}
    monkeypatch.setattr(ndjson, "PIECE_BYTES", 1)
    monkeypatch.setattr(ndjson, "STALL_S", 10)  # what is asked meanwhile is answered by then, on a busy machine, too
    monkeypatch.setattr(ndjson, "PLACE_WITHIN_S", 0.1)
    monkeypatch.setattr(Batch, "json_of", lambda *_: [b"x" * 4_000_000])
    address = urlsplit(str(api.http.base_url))
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1024)
    try:
        writer.write(b"GET /api/v1/products HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/x-ndjson\r\n\r\n")
        assert b"200" in await reader.readline()
        for _ in range(5):
            assert (await api.get("/variants", limit=1))["items"]
        refused = await api.http.get(PRODUCTS, headers=LINES)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert "1 at a time" in refused.json()["detail"]
        assert (await api.http.get(PRODUCTS, headers=unchanged)).status_code == 304
        assert (await api.http.get(PRODUCTS, headers={**LINES, "If-None-Match": '"another"'})).status_code == 503

        async def is_free() -> bool:
            return (await api.http.get(PRODUCTS, params={"q": "none at all"}, headers=LINES)).status_code == 200

        await eventually(is_free, 40)
    finally:
        writer.transport.abort()


async def test_who_hangs_up_ends_its_export(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def read_slowly(*args: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await read_products(*args)

    monkeypatch.setattr(ndjson, "read_products", read_slowly)
    asking = asyncio.create_task(api.http.get(PRODUCTS, headers=LINES))
    await begun.wait()
    asking.cancel()
    await asyncio.wait([asking])
    go_on.set()

    async def is_free() -> bool:
        return (await api.http.get(PRODUCTS, headers=LINES)).status_code == 200

    await eventually(is_free, 20)


async def test_an_export_finds_a_connection_where_there_is_one_for_everything(make_stack: MakeStack) -> None:
    async with make_stack(database_pool_size=1) as stack:
        await stack.sync()
        async with api_client(stack.settings) as api:
            assert len(parsed((await api.http.get(PRODUCTS, headers=LINES)).text)) > 0


@pytest.mark.pgbouncer
async def test_an_export_goes_through_a_transaction_pooler(servers: Servers, synced: Stack, api: ApiClient) -> None:
    url = synced.settings.database_url
    assert url is not None
    with pgbouncer(servers.postgres.url) as pooler:
        behind = {"database_url": pooler.url(url.get_secret_value()), "database_transaction_pooler": True}
        changed = Settings.model_validate({**synced.settings.model_dump(exclude_unset=True), **behind})
        async with api_client(changed) as pooled:
            got, expected = [
                await client.http.get(PRODUCTS, params={"fields": "sku,variants.prices"}, headers=LINES)
                for client in (pooled, api)
            ]
    assert got.status_code == 200
    assert parsed(got.text) == parsed(expected.text)


async def test_a_rebuild_during_syncs_equals_the_api_once_it_has_followed(make_stack: MakeStack) -> None:
    """An export in the middle of ten syncs, then only the products that changes name are read again."""
    feed = SampleFeed(FeedSpec.small(count=5, families=3, variants=2))
    async with make_stack(feed, database_pool_size=10) as stack, api_client(stack.settings) as api:
        syncing = asyncio.create_task(_sync_twice(stack))
        await eventually(lambda: stack.value("SELECT count(*) FROM products"))
        answer = await api.http.get(PRODUCTS, headers=LINES)
        mine = {(item["supplier"], item["sku"]): item for item in parsed(answer.text)}
        seq = int(answer.headers["x-changes-head"])
        while True:
            over = syncing.done()
            await number_all(stack.services.database)
            page = await api.get("/changes", since=seq)
            for supplier, sku in {(item["supplier"], item["productSku"]) for item in page["items"]}:
                mine[supplier, sku] = await api.get(f"/products/{quote(sku, safe='')}", supplier=supplier)
            seq = page["items"][-1]["seq"] if page["items"] else seq
            if over and seq == page["head"]:
                break
        await syncing
        everything = await api.all_pages("/products", expand="variants", limit=500)
        assert len(mine) == len(everything) >= 15
        assert {(item["supplier"], item["sku"]): item for item in everything} == mine


async def _sync_twice(stack: Stack) -> None:
    suppliers = stack.feed.suppliers()
    await asyncio.gather(*(stack.sync(supplier) for supplier in suppliers))
    for sku in [row["sku"] for row in await stack.rows("SELECT sku FROM products ORDER BY sku LIMIT 4")]:
        stack.feed.change_price(sku)
        stack.feed.swap_picture(sku)
    await asyncio.gather(*(stack.sync(supplier) for supplier in suppliers))
