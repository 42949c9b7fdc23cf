"""The sample feed over HTTP: addresses, validators, compression, the request log, faults, and the control endpoints."""

from __future__ import annotations

import asyncio
import gzip
import signal
import sys
import time
import zlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio

from app.samplefeed import FeedSpec, SampleFeed, SampleFeedServer
from tests.support.oracle import expected_pictures

SKU = "A23-100000"


@pytest_asyncio.fixture(loop_scope="session")
async def server() -> AsyncIterator[SampleFeedServer]:
    async with SampleFeedServer(SampleFeed(FeedSpec.small())) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


async def raw_answer(url: str, *, until: bytes | None = None) -> bytes:
    """All that comes back on a connection of its own: until it is closed, or until these bytes are there."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"GET {parts.path} HTTP/1.1\r\nHost: feed\r\nConnection: close\r\n\r\n".encode())
    try:
        async with asyncio.timeout(5):
            return await (reader.read() if until is None else reader.readuntil(until))
    finally:
        writer.close()


def document_url(server: SampleFeedServer) -> str:
    return f"{server.base_url}/A23/{SKU}.json"


def picture_url(server: SampleFeedServer) -> str:
    return min(expected_pictures(server.feed, "A23"))


async def test_everything_that_the_manifest_names_is_there(
    server: SampleFeedServer, client: aiohttp.ClientSession
) -> None:
    async with client.get(f"{server.base_url}/Import/Import.txt") as answer:
        lines = (await answer.text()).splitlines()

    assert lines[0].startswith(f"{server.base_url}/CAT.csv|")
    assert len(lines) == 1 + len(list(server.feed.entries()))
    for line in lines:
        async with client.get(line.partition("|")[0]) as answer:
            assert answer.status == 200


async def test_pictures_are_served_with_their_type(server: SampleFeedServer, client: aiohttp.ClientSession) -> None:
    url = picture_url(server)
    async with client.get(url) as answer:
        body, content_type = server.feed.picture(urlsplit(url).path) or (b"", "")
        assert (await answer.read(), answer.content_type) == (body, content_type)


async def test_what_is_not_there_is_404(server: SampleFeedServer, client: aiohttp.ClientSession) -> None:
    server.feed.set_categories(None)
    for path in ("/A23/A23-1.json", "/CAT.csv", "/Import/CAT.csv", "/Import/nothing"):
        async with client.get(server.base_url + path) as answer:
            assert answer.status == 404
    async with client.get(f"{server.origin}/Images/LiveR2/nothing.jpg") as answer:
        assert answer.status == 404
    async with client.post(document_url(server)) as answer:
        assert answer.status == 404


@pytest.mark.parametrize("validator", [("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since")])
@pytest.mark.parametrize("kind", ["manifest", "category", "picture"])
async def test_what_the_client_has_is_304_until_it_changes(
    server: SampleFeedServer, client: aiohttp.ClientSession, validator: tuple[str, str], kind: str
) -> None:
    manifest = f"{server.base_url}/Import/Import.txt"
    url = {"manifest": manifest, "category": f"{server.base_url}/CAT.csv", "picture": picture_url(server)}[kind]
    async with client.get(url) as answer:
        headers = {validator[1]: answer.headers[validator[0]]}

    async with client.get(url, headers=headers) as answer:
        assert (answer.status, await answer.read()) == (304, b"")
    server.habits.validators = False
    async with client.get(url, headers=headers) as answer:
        assert answer.status == 200
        assert "ETag" not in answer.headers


@pytest.mark.parametrize("validator", [("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since")])
async def test_a_changed_manifest_is_sent_anew(
    server: SampleFeedServer, client: aiohttp.ClientSession, validator: tuple[str, str]
) -> None:
    url = f"{server.base_url}/Import/Import.txt"
    async with client.get(url) as answer:
        headers = {validator[1]: answer.headers[validator[0]]}

    server.feed.rehash(SKU)
    async with client.get(url, headers=headers) as answer:
        assert answer.status == 200


async def test_documents_are_packed_for_who_takes_gzip(server: SampleFeedServer, client: aiohttp.ClientSession) -> None:
    async with client.get(document_url(server), headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        packed = await answer.read()
    async with client.get(document_url(server), headers={"Accept-Encoding": "identity"}) as answer:
        assert "Content-Encoding" not in answer.headers
        assert await answer.read() == gzip.decompress(packed)


async def test_pictures_may_have_an_origin_of_their_own() -> None:
    async with SampleFeedServer(SampleFeed(FeedSpec.small()), pictures_port=0) as server:
        url = picture_url(server)
        assert urlsplit(url).port != urlsplit(server.base_url).port
        assert b" 200 OK" in await raw_answer(url)


async def test_the_log_counts_by_kind_and_the_most_at_once(
    server: SampleFeedServer, client: aiohttp.ClientSession
) -> None:
    async def ask(url: str) -> None:
        async with client.get(url) as answer:
            await answer.read()

    server.habits.latency_s = 0.05
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(ask(document_url(server)))
        group.create_task(ask(picture_url(server)))
    await ask(f"{server.base_url}/nothing.json")

    assert server.log.counts == {"document": 5, "picture": 1}
    assert server.log.most_at_once["document"] == 4
    assert [one.status for one in server.log.requests][-1] == 404
    assert set(server.log.paths("picture")) == {urlsplit(picture_url(server)).path}

    server.log.reset()
    assert server.log.counts == {}


async def test_latency_is_waited_before_each_answer(server: SampleFeedServer, client: aiohttp.ClientSession) -> None:
    server.habits.latency_s = 0.1
    started = time.monotonic()
    async with client.get(document_url(server)) as answer:
        await answer.read()
    assert time.monotonic() - started >= 0.1


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
    server.faults.add("*", "status", for_s=0.1)
    async with client.get(document_url(server)) as answer:
        assert answer.status == 503
    await asyncio.sleep(0.15)
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


async def test_the_switches_work_over_http(server: SampleFeedServer, client: aiohttp.ClientSession) -> None:
    control = f"{server.origin}/_control"
    async with client.get(control) as answer:
        assert (await answer.json())["baseUrl"] == server.base_url

    async with client.post(f"{control}/changes", json={"change": "add_family", "supplier": "A23"}) as answer:
        sku = (await answer.json())["result"]
    picture = {"change": "set_picture", "url": picture_url(server), "bodyBase64": "R0lG"}
    async with client.post(f"{control}/changes", json=picture) as answer:
        assert answer.status == 200
    async with client.post(f"{control}/habits", json={"latency_s": 0.01}) as answer:
        assert (await answer.json())["latency_s"] == 0.01
    async with client.post(f"{control}/faults", json={"pattern": "document", "action": "body", "body": "ü"}) as answer:
        assert answer.status == 200

    async with client.get(f"{server.base_url}/A23/{sku}.json") as answer:
        assert await answer.read() == "ü".encode()
    async with client.get(picture_url(server)) as answer:
        assert await answer.read() == b"GIF"
    async with client.get(f"{control}/faults") as answer:
        assert [one["hits"] for one in (await answer.json())["faults"]] == [1]
    async with client.get(f"{control}/requests?kind=document") as answer:
        seen = await answer.json()
    assert seen["counts"] == {"document": 1, "picture": 1}
    assert [one["path"].rpartition("/")[2] for one in seen["requests"]] == [f"{sku}.json"]

    async with client.delete(f"{control}/faults"), client.delete(f"{control}/requests"):
        assert (server.faults.all(), server.log.requests) == ((), [])


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/changes", {"change": "spec"}, 400),
        ("/changes", {"change": "rename", "sku": "nothing"}, 400),
        ("/changes", {"change": "rename", "tune": 1}, 400),
        ("/habits", {"mood": 1}, 400),
        ("/faults", {"pattern": "*", "action": "sulk"}, 400),
        ("/nothing", {}, 404),
    ],
)
async def test_a_switch_that_is_none_is_refused(
    server: SampleFeedServer, client: aiohttp.ClientSession, path: str, body: dict[str, object], status: int
) -> None:
    async with client.post(f"{server.origin}/_control{path}", json=body) as answer:
        assert answer.status == status
        assert (await answer.json())["error"]


async def test_it_serves_as_a_process_of_its_own_until_sigterm() -> None:
    arguments = ("-m", "app.cli.feed_serve", "--small", "--suppliers", "2", "--families", "3", "--port", "0")
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    base_url = (await process.stdout.readline()).decode().strip()
    manifest = await raw_answer(f"{base_url}/Import/Import.txt")
    process.send_signal(signal.SIGTERM)

    assert manifest.count(b".json|") == 6
    assert await process.wait() == 0
