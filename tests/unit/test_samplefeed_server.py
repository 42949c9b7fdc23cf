"""The sample feed over HTTP: addresses, validators, compression, the request log, and the control endpoints."""

from __future__ import annotations

import asyncio
import gzip
import signal
import sys
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

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
