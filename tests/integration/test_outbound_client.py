"""The client against a server that answers byte for byte what it is told to."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from app.errors import AddressRefused, BodyTooLarge, OriginRefused, OriginUnavailable, PermanentError
from app.outbound import FetchLimits, OutboundClient
from app.outbound.urls import parse_address, resolve_redirect
from tests.support.raw_http import KEEP, RawServer, Script, answer, serve
from tests.support.waiting import eventually

LIMITS = FetchLimits(max_bytes=100_000, connect_timeout_s=1, first_byte_timeout_s=1, total_timeout_s=3)
SHORT = FetchLimits(max_bytes=100_000, connect_timeout_s=0.3, first_byte_timeout_s=0.3, total_timeout_s=1)
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


async def lookup(_host: str, _port: int) -> Sequence[str]:
    return ["127.0.0.1"]


@pytest_asyncio.fixture
async def client() -> AsyncIterator[OutboundClient]:
    async with OutboundClient(allow_private=LOOPBACK, lookup=lookup) as client:
        yield client


async def fetch_error(client: OutboundClient, script: Script, limits: FetchLimits = LIMITS) -> Exception:
    async with serve(script) as server:
        with pytest.raises(Exception) as caught:
            await client.get(server.url("/x"), limits=limits)
        await asyncio.sleep(0.02)
        assert server.open_connections == 0, "a request that failed leaves no connection behind"
    return caught.value


async def test_a_whole_answer_is_given_with_what_the_next_request_needs(client: OutboundClient) -> None:
    reply = answer(b"hello", ETag='"1"', Last_Modified="Mon, 01 Jan 2024 00:00:00 GMT", Content_Type="text/plain")
    async with serve([reply, KEEP]) as server:
        fetched = await client.get(server.url("/a%2Fb+c d/é?q=1#part"), limits=LIMITS, headers={"X-Mark": "1"})
    head = server.requests[0]
    assert (fetched.status, fetched.body, fetched.etag, fetched.end_marked) == (200, b"hello", '"1"', True)
    assert (fetched.last_modified, fetched.content_type) == ("Mon, 01 Jan 2024 00:00:00 GMT", "text/plain")
    assert not fetched.not_modified
    assert head.startswith("GET /a%2Fb+c%20d/%C3%A9?q=1 HTTP/1.1\r\n")
    assert "Accept-Encoding: gzip, deflate\r\n" in head
    assert "User-Agent: promidata-sync/" in head
    assert "x-mark: 1" in head


async def test_a_conditional_request_may_be_answered_by_not_modified(client: OutboundClient) -> None:
    async with serve([answer(status=304, length=None, ETag='"2"'), KEEP]) as server:
        fetched = await client.get(server.url(), limits=LIMITS, headers={"If-None-Match": '"2"'})
        assert (fetched.not_modified, fetched.body, fetched.etag) == (True, b"", '"2"')
        with pytest.raises(OriginRefused):
            await client.get(server.url(), limits=LIMITS)


async def test_connections_are_kept_and_cookies_are_not(client: OutboundClient) -> None:
    async with serve([answer(b"x", Set_Cookie="a=b"), KEEP]) as server:
        for _ in range(5):
            await client.get(server.url(), limits=LIMITS)
    assert server.connections == 1
    assert not any("cookie" in head.lower() for head in server.requests)


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "encoded"),
    [
        ("gzip", gzip.compress(b"hello" * 5_000)),
        ("X-GZIP", gzip.compress(b"hello" * 5_000)),
        ("gzip", gzip.compress(b"hello" * 2_000) + gzip.compress(b"hello" * 3_000) + b"\0\0"),
        ("deflate", zlib.compress(b"hello" * 5_000)),
        ("deflate", raw_deflate(b"hello" * 5_000)),
        ("identity", b"hello" * 5_000),
    ],
    ids=["gzip", "x-gzip", "gzip-members", "deflate", "raw-deflate", "identity"],
)
@pytest.mark.parametrize("step", [1, 7, 100_000])
async def test_an_encoded_body_is_opened_however_it_is_cut(
    client: OutboundClient, encoding: str, encoded: bytes, step: int
) -> None:
    pieces = [encoded[at : at + step] for at in range(0, len(encoded), step)][:200]
    pieces.append(encoded[sum(map(len, pieces)) :])
    head = answer(length=len(encoded), Content_Encoding=encoding)
    async with serve([head, *pieces, KEEP]) as server:
        fetched = await client.get(server.url(), limits=LIMITS)
    assert fetched.body == b"hello" * 5_000


REFUSED = [
    "br",
    "zstd",
    "gzip, gzip",
    "compress",
    "aws-chunked, br",
    "BR, gzip",
    "gzip\r\nContent-Encoding: br",
    "x-xz",
]


@pytest.mark.parametrize("encoding", REFUSED)
async def test_an_encoding_that_was_not_asked_for_is_refused(client: OutboundClient, encoding: str) -> None:
    error = await fetch_error(client, [answer(b"xx", Content_Encoding=encoding)])
    assert isinstance(error, PermanentError)
    assert error.kind == "encoding-refused"


async def test_a_bomb_is_refused_without_being_opened(client: OutboundClient) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    limits = FetchLimits(max_bytes=4_000_000, total_timeout_s=10)
    async with serve([answer(bomb, Content_Encoding="gzip"), KEEP]) as server:
        tracemalloc.start()
        with pytest.raises(BodyTooLarge):
            await client.get(server.url(), limits=limits)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 12_000_000


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([answer(length=100_001), b"x" * 10], id="announced"),
        pytest.param([answer(length=None), b"x" * 100_001], id="until closed"),
        pytest.param([answer(length=None, Transfer_Encoding="chunked"), b"186A1\r\n" + b"x" * 100_001], id="chunked"),
        pytest.param([answer(gzip.compress(bytes(100_001)), Content_Encoding="gzip")], id="gzip"),
    ],
)
async def test_a_body_over_the_cap_is_refused(client: OutboundClient, script: Script) -> None:
    assert isinstance(await fetch_error(client, script), BodyTooLarge)


CHUNKED = answer(length=None, Transfer_Encoding="chunked")
PACKED = gzip.compress(bytes(range(256)) * 50)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        pytest.param([], "closed before", id="no answer at all"),
        pytest.param([b"HTTP/1.1 200 O"], "closed before", id="cut in the status line"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-"], "", id="cut in the headers"),
        pytest.param([answer(length=10), b"12345"], "ended early", id="cut, with a length"),
        pytest.param([CHUNKED, b"5\r\n12345\r\n"], "ended early", id="no last chunk"),
        pytest.param([CHUNKED, b"5\r\n123"], "ended early", id="cut in a chunk"),
        pytest.param([CHUNKED, b"zz\r\n123"], "", id="a chunk without a size"),
        pytest.param([answer(length=None, Content_Encoding="gzip"), PACKED[:-9]], "ended early", id="gzip cut"),
        pytest.param([answer(length=None, Content_Encoding="gzip"), b"\x1f"], "ended early", id="gzip of one byte"),
        pytest.param([answer(b"no gzip", Content_Encoding="gzip")], "not compressed as its headers", id="not gzip"),
        pytest.param([answer(PACKED + b"more", Content_Encoding="gzip")], "incorrect header", id="gzip and more"),
        pytest.param([answer(PACKED[:-6] + b"xxxxxx", Content_Encoding="gzip")], "incorrect", id="gzip checksum"),
        pytest.param([answer(gzip.compress(b"") * 99, Content_Encoding="gzip")], "after its end", id="99 gzip members"),
        pytest.param([answer(zlib.compress(b"") + b"x", Content_Encoding="deflate")], "after", id="deflate and more"),
        pytest.param([answer(b"1234567890", length=5)], "longer than announced", id="longer, at once"),
        pytest.param([answer(length=5), 0.05, b"123", 0.05, b"4567"], "longer than announced", id="longer, later"),
        pytest.param([b"SSH-2.0-OpenSSH_9.6\r\n\r\n"], "not HTTP", id="another protocol"),
        pytest.param([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"], "not HTTP", id="a huge header"),
        pytest.param([b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n"], "not HTTP", id="500 headers"),
        pytest.param([answer(status=204, length=None)], "204", id="success without a body"),
        pytest.param([answer(b"part", status=206)], "206", id="a part that nobody asked for"),
    ],
)
async def test_what_did_not_arrive_whole_is_transient(client: OutboundClient, script: Script, says: str) -> None:
    error = await fetch_error(client, script)
    assert isinstance(error, OriginUnavailable)
    assert says in str(error)


async def test_a_body_without_any_length_is_given_and_says_so(client: OutboundClient) -> None:
    async with serve([answer(length=None), b"12345"]) as server:
        fetched = await client.get(server.url(), limits=LIMITS)
    assert (fetched.body, fetched.end_marked) == (b"12345", False)


async def test_a_server_that_hangs_up_after_a_whole_body_is_no_error(client: OutboundClient) -> None:
    async with serve([answer(length=5), 0.02, b"12345"]) as server:
        for _ in range(3):
            assert (await client.get(server.url(), limits=LIMITS)).body == b"12345"


async def test_a_reset_is_transient(client: OutboundClient) -> None:
    async with serve([]) as server:
        url = server.url()
    with pytest.raises(OriginUnavailable, match="no connection"):
        await client.get(url, limits=LIMITS)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        pytest.param([90.0], "the headers", id="no first byte"),
        pytest.param([b"HTTP/1.1 200 OK\r\n", *([b"X: y\r\n", 0.1] * 900)], "the headers", id="endless header"),
        pytest.param([answer(length=10_000), *([b"x", 0.05] * 1800)], "whole answer", id="drip"),
        pytest.param([answer(length=1_000), b"x", 90.0], "whole answer", id="silence in the body"),
        pytest.param([CHUNKED, *([b"1\r\nx\r\n", 0.05] * 1800)], "whole answer", id="chunks without end"),
    ],
)
async def test_slowness_is_bounded(client: OutboundClient, script: Script, says: str) -> None:
    started = time.monotonic()
    error = await fetch_error(client, script, SHORT)
    assert isinstance(error, OriginUnavailable)
    assert says in str(error)
    assert time.monotonic() - started < 60  # each script would go on for 90 s


async def test_a_name_that_does_not_resolve_in_time_is_transient() -> None:
    async def slow(_host: str, _port: int) -> Sequence[str]:
        await asyncio.sleep(2)
        return []

    async with OutboundClient(lookup=slow) as client:
        with pytest.raises(OriginUnavailable):
            await client.get("http://slow.test/", limits=SHORT)


async def test_a_name_without_an_address_is_transient() -> None:
    async def empty(_host: str, _port: int) -> Sequence[str]:
        return []

    async with OutboundClient(lookup=empty) as client:
        with pytest.raises(OriginUnavailable, match="cannot be resolved"):
            await client.get("http://empty.test/", limits=SHORT)


async def test_a_name_that_does_not_exist_is_transient() -> None:
    async with OutboundClient() as client:
        with pytest.raises(OriginUnavailable, match="cannot be resolved"):
            await client.get("http://no-such-name.invalid/", limits=LIMITS)


async def test_cancelling_releases_the_connection(client: OutboundClient) -> None:
    async with serve([answer(length=1_000), b"x", 600.0]) as server:
        tasks = [asyncio.create_task(client.get(server.url(), limits=LIMITS)) for _ in range(20)]
        await eventually(lambda: _open_are(server, 20))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await eventually(lambda: _open_are(server, 0))
    async with serve([answer(b"x"), KEEP]) as server:
        assert (await client.get(server.url(), limits=LIMITS)).body == b"x"


@pytest.mark.parametrize(("status", "permanent"), [(400, True), (401, True), (403, True), (404, True), (410, True)])
async def test_a_refusal_is_permanent(client: OutboundClient, status: int, permanent: bool) -> None:
    error = await fetch_error(client, [answer(b"x" * 50_000, status=status)])
    assert isinstance(error, OriginRefused) is permanent
    assert getattr(error, "status", None) == status


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520])
async def test_an_origin_in_trouble_is_transient_and_may_say_when(client: OutboundClient, status: int) -> None:
    error = await fetch_error(client, [answer(status=status, Retry_After="7")])
    assert isinstance(error, OriginUnavailable)
    assert error.retry_after_s == 7


async def test_messages_mask_the_address(client: OutboundClient) -> None:
    async with serve([answer(status=500)]) as server:
        with pytest.raises(OriginUnavailable) as caught:
            await client.get(server.url("/Profiles/Live/0f3c9a2e-aaaa-bbbb/Import.txt?key=secret"), limits=LIMITS)
    assert "aaaa" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "/Import.txt answered 500" in str(caught.value)


async def test_five_redirects_are_followed_and_a_sixth_is_not(client: OutboundClient) -> None:
    def hop(head: str) -> Script:
        left = int(head.split(" ")[1].strip("/"))
        return [answer(b"end") if left == 0 else answer(status=302, Location=f"/{left - 1}"), KEEP]

    async with serve(hop) as server:
        fetched = await client.get(server.url("/5"), limits=LIMITS)
        assert (fetched.body, fetched.url) == (b"end", server.url("/0"))
        with pytest.raises(OriginRefused, match="more than 5"):
            await client.get(server.url("/6"), limits=LIMITS)


async def test_a_redirect_without_a_place_is_refused(client: OutboundClient) -> None:
    error = await fetch_error(client, [answer(status=302)])
    assert isinstance(error, OriginRefused)


async def test_secret_headers_do_not_follow_to_another_host(client: OutboundClient) -> None:
    headers = {"Authorization": "Bearer s", "X-Api-Key": "s", "If-None-Match": '"1"', "Cookie": "a=b"}
    async with (
        serve([answer(b"x"), KEEP]) as other,
        serve([answer(status=302, Location=other.url(host="other.test")), KEEP]) as first,
    ):
        await client.get(first.url(host="first.test"), limits=LIMITS, headers=headers)
    seen = other.requests[0].lower()
    assert "authorization" in first.requests[0].lower()
    assert not any(name in seen for name in ("authorization", "x-api-key", "cookie", "first.test"))
    assert 'if-none-match: "1"' in seen


async def test_a_webhook_is_posted_with_its_headers(client: OutboundClient) -> None:
    async with serve([answer(b"x" * 500_000, status=202)]) as server:
        headers = {"webhook-id": "1", "Content-Type": "application/json"}
        status = await client.post(server.url("/hook"), body=b'{"a": 1}', headers=headers, limits=LIMITS)
    assert status == 202
    assert "webhook-id: 1" in server.requests[0]
    assert "Content-Length: 8" in server.requests[0]


@pytest.mark.parametrize("status", [301, 400, 410, 500, 429])
async def test_a_webhook_that_is_not_taken_raises(client: OutboundClient, status: int) -> None:
    async with serve([answer(status=status, Retry_After="3")]) as server:
        with pytest.raises((OriginRefused, OriginUnavailable), match=str(status)):
            await client.post(server.url(), body=b"{}", headers={}, limits=LIMITS)
    assert len(server.requests) == 1


async def test_https_is_not_left_by_a_redirect() -> None:
    with pytest.raises(AddressRefused, match="leaves https"):
        resolve_redirect(parse_address("https://a.test/x"), "http://a.test/x")
    assert str(resolve_redirect(parse_address("http://a.test/x/y"), "../z?q")) == "http://a.test/z?q"


async def _open_are(server: RawServer, number: int) -> bool:
    return server.open_connections == number
