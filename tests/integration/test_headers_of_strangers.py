"""CASES.md D1: headers whose bytes are no text, on everything that is fetched."""

from __future__ import annotations

import gzip
import ipaddress
import json

import pytest

from app.outbound import FetchLimits, OutboundClient
from tests.conftest import MakeStack
from tests.support.feed_documents import child, details, document
from tests.support.picture_origin import jpeg
from tests.support.raw_http import KEEP, RawServer, Script, answer, serve

LIMITS = FetchLimits(max_bytes=100_000, connect_timeout_s=1, first_byte_timeout_s=1, total_timeout_s=3)
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
PROFILE = "/Profiles/Live/0f3c9a2e-aaaa-4bbb-8ccc-444444444444"
ODD = {
    "Latin-1": b'"caf\xe9"',
    "UTF-8": '"café"'.encode(),
    "half of UTF-8": b'"caf\xc3"',
    "a date in another language": b"Do, 5 M\xe4r 2026 12:00:00 GMT",
    "a tab": b'"a\tb"',
    "7,000 characters": b'"' + b"x" * 7_000 + b'"',
    "20,000 characters": b'"' + b"x" * 20_000 + b'"',
    "empty": b"",
}


def odd_answer(body: bytes, value: bytes, *, media_type: bytes = b"text/plain", label: bytes = b"") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nETag: %b\r\nLast-Modified: %b\r\nContent-Type: %b\r\n"
    encoding = b"Content-Encoding: %b\r\n" % label if label else b""
    return head % (len(body), value, value, media_type) + encoding + b"\r\n" + body


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
async def test_a_header_that_cannot_be_kept_is_as_if_it_were_not_there(value: bytes) -> None:
    async with (
        serve([odd_answer(b"x", value, media_type=value), KEEP]) as server,
        OutboundClient(allow_private=LOOPBACK) as client,
    ):
        fetched = await client.get(server.url(), limits=LIMITS)
    assert (fetched.body, fetched.etag, fetched.last_modified, fetched.content_type) == (b"x", None, None, None)


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        (b"/caf\xe9.png", "/caf%E9.png"),
        ("/café.png".encode(), "/caf%C3%A9.png"),
        (b"/a%2Fb\xe9?c=\xff", "/a%2Fb%E9?c=%FF"),
    ],
)
async def test_a_redirect_with_raw_bytes_leads_to_those_bytes(location: bytes, asked: str) -> None:
    def hop(head: str) -> Script:
        if head.startswith("GET /start "):
            return [b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %b\r\n\r\n" % location, KEEP]
        return [odd_answer(b"x", b'"1"'), KEEP]

    async with serve(hop) as server, OutboundClient(allow_private=LOOPBACK) as client:
        await client.get(server.url("/start"), limits=LIMITS)
    assert server.requests[1].split(" ")[1] == asked


LABELS = (
    "UTF-8",
    "utf-8",
    "identity",
    "aws-chunked",
    "none",
    "binary",
    "application/json",
    "gzip, identity",
    "aws-chunked,gzip",
    "application/json, gzip",
    "gzip, UTF-8",
    "x, y",
    ",",
)
LABELS_ON_SEVERAL_LINES = ("aws-chunked\r\nContent-Encoding: gzip", "gzip\r\nContent-Encoding: utf-8")


@pytest.mark.parametrize(
    "label", [*LABELS, *LABELS_ON_SEVERAL_LINES, "gzip;q=1", '"gzip"', "text/csv; charset=utf-8", ""]
)
async def test_a_label_that_names_no_compression_is_passed_over(label: str) -> None:
    body = gzip.compress(b"hello") if "gzip" in label else b"hello"
    script = [answer(body, Content_Encoding=label), KEEP]
    async with serve(script) as server, OutboundClient(allow_private=LOOPBACK) as client:
        assert (await client.get(server.url(), limits=LIMITS)).body == b"hello"


def fill(bodies: dict[str, bytes], server: RawServer) -> None:
    shown = {"Url": server.url("/1.jpg"), "Description": "", "FileName": "1.jpg"}
    one = child(ProductDetails={"nl": details("Tas", "Kleur", Image=shown, MediaGalleryImages=None)})
    family = document(one, ProductDetails={})
    bodies[f"{PROFILE}/Import/Import.txt"] = server.url(f"{PROFILE}/A99/A99-100804.json|1111\n").encode()
    bodies[f"{PROFILE}/A99/A99-100804.json"] = json.dumps(family).encode()
    bodies[f"{PROFILE}/CAT.csv"] = b"KEY;de;nl\nBAGS;Taschen;Tassen\n"
    bodies["/1.jpg"] = jpeg(1)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Latin-1", b"UTF-8"),
        ("half of UTF-8", b"aws-chunked,gzip"),
        ("a date in another language", b"application/json"),
        ("7,000 characters", b"gzip, identity"),
    ],
)
async def test_a_whole_sync_reads_what_odd_headers_come_with(make_stack: MakeStack, name: str, label: bytes) -> None:
    """On the manifest, a document, a picture and the category file alike."""
    bodies: dict[str, bytes] = {}

    def script(head: str) -> Script:
        path = head.split(" ")[1]
        if path not in bodies:
            return [b"HTTP/1.1 404 No\r\n\r\n"]
        body = gzip.compress(bodies[path]) if b"gzip" in label else bodies[path]
        return [odd_answer(body, ODD[name], label=label), KEEP]

    async with serve(script) as server:
        fill(bodies, server)
        async with make_stack(promidata_base_url=server.url(PROFILE)) as stack:
            await stack.sync()
            run = await stack.run("A99")
            assert (run["status"], run["images_uploaded"], await stack.problems("A99")) == ("completed", 1, [])
            assert await stack.value("SELECT count(*) FROM categories") == 1
            kept = await stack.rows("""SELECT etag, last_modified FROM manifests
                UNION ALL SELECT etag, last_modified FROM category_files
                UNION ALL SELECT etag, last_modified FROM addresses""")
            assert [tuple(row.values()) for row in kept] == [(None, None)] * 3
