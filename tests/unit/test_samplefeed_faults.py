"""The sample feed's faults, each as a client sees it on the socket."""

from __future__ import annotations

import time
import zlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from app.samplefeed import FeedSpec, SampleFeed, SampleFeedServer
from tests.support.sample_requests import SKU, document_url, picture_url, raw_answer


@pytest_asyncio.fixture(loop_scope="session")
async def server() -> AsyncIterator[SampleFeedServer]:
    async with SampleFeedServer(SampleFeed(FeedSpec.small())) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


async def test_a_status_is_answered_as_often_as_it_was_asked_for(
    server: SampleFeedServer, client: aiohttp.ClientSession
) -> None:
    server.faults.add(f"*/{SKU}.json", "status", times=2, status=429, retry_after="7")
    statuses = []
    for _ in range(3):
        async with client.get(document_url(server)) as answer:
            statuses.append((answer.status, answer.headers.get("Retry-After")))
    assert statuses == [(429, "7"), (429, "7"), (200, None)]


async def test_a_fault_ends_with_its_time(server: SampleFeedServer, client: aiohttp.ClientSession) -> None:
    fault = server.faults.add("*", "status", for_s=3600)
    async with client.get(document_url(server)) as answer:
        assert answer.status == 503
    fault.since_s -= 3601
    async with client.get(document_url(server)) as answer:
        assert answer.status == 200


async def test_a_reset_comes_before_the_first_byte(server: SampleFeedServer) -> None:
    server.faults.add("document", "reset")
    with pytest.raises(ConnectionResetError):
        await raw_answer(document_url(server))
    assert [one.status for one in server.log.requests] == [0]


async def test_a_cut_body_is_shorter_than_its_length(server: SampleFeedServer, client: aiohttp.ClientSession) -> None:
    server.faults.add("document", "cut", share=0.25)
    head, _, body = (await raw_answer(document_url(server))).partition(b"\r\n\r\n")
    whole = server.feed.document_bytes(server.feed.entry(SKU))
    assert f"Content-Length: {len(whole)}".encode() in head
    assert body == whole[: len(whole) // 4]
    async with client.get(document_url(server)) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_a_cut_chunked_body_has_no_last_chunk(server: SampleFeedServer) -> None:
    server.faults.add("document", "cut_chunked")
    answer = await raw_answer(document_url(server))
    assert b"Transfer-Encoding: chunked" in answer
    assert not answer.endswith(b"0\r\n\r\n")


async def test_a_cut_closed_body_has_no_length(server: SampleFeedServer) -> None:
    server.faults.add("manifest", "cut_close", share=0.5)
    head, _, body = (await raw_answer(f"{server.base_url}/Import/Import.txt")).partition(b"\r\n\r\n")
    assert b"Content-Length" not in head
    assert body == server.feed.manifest()[: len(server.feed.manifest()) // 2]


async def test_a_slow_answer_is_whole(server: SampleFeedServer, client: aiohttp.ClientSession) -> None:
    server.faults.add("picture", "slow", seconds=0.1)
    started = time.monotonic()
    async with client.get(picture_url(server)) as answer:
        assert len(await answer.read()) == int(answer.headers["Content-Length"])
    assert time.monotonic() - started >= 0.1


async def test_a_drip_comes_byte_by_byte(server: SampleFeedServer) -> None:
    server.feed.set_document("A23", "drip.json", b"{}")
    server.faults.add("*/drip.json", "drip", seconds=0.05)
    started = time.monotonic()
    assert (await raw_answer(f"{server.base_url}/A23/drip.json")).endswith(b"{}")
    assert time.monotonic() - started >= 0.1


async def test_a_header_goes_on(server: SampleFeedServer) -> None:
    server.faults.add("document", "endless_header", seconds=0.01)
    assert b"\r\n\r\n" not in await raw_answer(document_url(server), until=b"X-Line-5: more to come")


async def test_wrong_bodies_are_whole(server: SampleFeedServer, client: aiohttp.ClientSession) -> None:
    server.faults.add("document", "broken_json", times=1)
    server.faults.add("document", "html", times=1, content_type="text/html")
    server.faults.add("document", "body", times=1, body=b"[]")
    server.faults.add("document", "content_type", times=1, content_type="text/plain")
    seen = []
    for _ in range(4):
        async with client.get(document_url(server), headers={"Accept-Encoding": "identity"}) as answer:
            seen.append((answer.status, answer.content_type, (await answer.read())[:9]))
    assert seen == [
        (200, "application/json", b'{"Sku": "'),
        (200, "text/html", b"<!DOCTYPE"),
        (200, "application/json", b"[]"),
        (200, "text/plain", b'{"ChildPr'),
    ]


async def test_html_stands_in_a_picture_s_place(server: SampleFeedServer, client: aiohttp.ClientSession) -> None:
    server.faults.add("picture", "html")
    async with client.get(picture_url(server)) as answer:
        assert answer.content_type.startswith("image/")
        assert (await answer.read()).startswith(b"<!DOCTYPE html>")


async def test_a_stale_document_is_the_one_before(server: SampleFeedServer, client: aiohttp.ClientSession) -> None:
    before = server.feed.document_bytes(server.feed.entry(SKU))
    server.feed.change_price(SKU)
    server.faults.add("document", "stale", times=1)
    async with client.get(document_url(server)) as answer:
        assert await answer.read() == before
    async with client.get(document_url(server), headers={"Accept-Encoding": "identity"}) as answer:
        assert await answer.read() == server.feed.document_bytes(server.feed.entry(SKU))


async def test_a_redirect_leads_where_it_was_told(server: SampleFeedServer, client: aiohttp.ClientSession) -> None:
    server.faults.add("document", "redirect", location="http://10.0.0.1/x")
    async with client.get(document_url(server), allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "http://10.0.0.1/x")


async def test_a_bomb_is_small_and_opens_to_what_was_asked_for(
    server: SampleFeedServer, client: aiohttp.ClientSession
) -> None:
    server.faults.add("document", "gzip_bomb", opened_bytes=64 * 1024 * 1024)
    async with client.get(document_url(server)) as answer:
        packed = await answer.read()
    assert len(packed) < 200_000
    assert len(zlib.decompress(packed, zlib.MAX_WBITS | 16)) == 64 * 1024 * 1024


async def test_an_unknown_fault_is_refused(server: SampleFeedServer) -> None:
    with pytest.raises(ValueError, match="sulk is none of"):
        server.faults.add("*", "sulk")  # type: ignore[arg-type]
