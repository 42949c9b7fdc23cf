"""From an address to a picture that may be stored, over a real socket."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
import pytest_asyncio

from app.errors import AddressRefused, BodyTooLarge, OriginRefused, OriginUnavailable, PictureRefused
from app.images.download import DownloadedPicture, NotModified, download_picture
from app.images.inspect import PictureFacts, PictureInspector
from app.outbound import FetchLimits, OutboundClient
from tests.support.hostile_pictures import noise, saved
from tests.support.raw_http import KEEP, Script, answer, serve

LIMITS = FetchLimits(max_bytes=2_000_000, connect_timeout_s=1, first_byte_timeout_s=1, total_timeout_s=2)
JPEG = saved(noise(), "JPEG")
LARGE = saved(noise(800, 600), "PNG")


@pytest_asyncio.fixture
async def client() -> AsyncIterator[OutboundClient]:
    async with OutboundClient(allow_private=[ipaddress.ip_network("127.0.0.0/8")]) as client:
        yield client


@pytest.fixture
def inspector() -> Iterator[PictureInspector]:
    inspector = PictureInspector(max_pixels=1_000_000)
    yield inspector
    inspector.close()


@pytest.mark.parametrize(
    ("body", "facts"),
    [(JPEG, PictureFacts("image/jpeg", "jpg", 300, 100)), (LARGE, PictureFacts("image/png", "png", 800, 600))],
)
async def test_a_picture_comes_with_its_hash_and_facts_whatever_it_is_called(
    client: OutboundClient, inspector: PictureInspector, body: bytes, facts: PictureFacts
) -> None:
    async with serve([answer(body, Content_Type="text/html", ETag='"a"'), KEEP]) as server:
        picture = await download_picture(client, inspector, server.url("/x.gif"), limits=LIMITS)
    assert isinstance(picture, DownloadedPicture)
    sha256 = hashlib.sha256(body).hexdigest()
    assert (picture.body, picture.sha256, picture.facts, picture.etag) == (body, sha256, facts, '"a"')
    assert picture.key == f"{sha256[:2]}/{sha256[2:4]}/{sha256}.{facts.extension}"


async def test_a_picture_that_did_not_change_is_not_sent_again(
    client: OutboundClient, inspector: PictureInspector
) -> None:
    async with serve([answer(status=304, length=None), KEEP]) as server:
        result = await download_picture(client, inspector, server.url(), limits=LIMITS, etag='"a"', last_modified="x")
    assert result == NotModified('"a"')
    assert 'if-none-match: "a"' in server.requests[0].lower()
    assert "if-modified-since: x" in server.requests[0].lower()


@pytest.mark.parametrize(
    ("script", "error"),
    [
        pytest.param([answer(length=None), JPEG[:-10]], OriginUnavailable, id="cut, without a length"),
        pytest.param([answer(length=len(JPEG)), JPEG[:-10]], OriginUnavailable, id="cut, with a length"),
        pytest.param([answer(JPEG[:-10])], OriginUnavailable, id="cut before it was sent"),
        pytest.param([answer(JPEG, length=len(JPEG) - 9)], OriginUnavailable, id="longer than announced"),
        pytest.param([answer(length=len(JPEG)), JPEG[:9], 5.0], OriginUnavailable, id="drip"),
        pytest.param([answer(b"<html>not here</html>")], PictureRefused, id="a page"),
        pytest.param([answer(b"")], PictureRefused, id="nothing"),
        pytest.param([answer(bytes(3_000_000))], BodyTooLarge, id="too large"),
        pytest.param([answer(b"", status=404)], OriginRefused, id="gone"),
        pytest.param([answer(status=302, Location="http://10.0.0.1/")], AddressRefused, id="led astray"),
    ],
)
async def test_what_is_no_whole_picture_is_told_apart(
    client: OutboundClient, inspector: PictureInspector, script: Script, error: type[Exception]
) -> None:
    async with serve(script) as server:
        with pytest.raises(error):
            await download_picture(client, inspector, server.url(), limits=LIMITS)


async def test_a_second_try_brings_what_the_first_did_not(client: OutboundClient, inspector: PictureInspector) -> None:
    cuts: list[Sequence[bytes | float | None]] = [[answer(length=None), JPEG[:500]], [answer(JPEG), KEEP]]
    async with serve(lambda _head: cuts.pop(0)) as server:
        with pytest.raises(OriginUnavailable):
            await download_picture(client, inspector, server.url(), limits=LIMITS)
        picture = await download_picture(client, inspector, server.url(), limits=LIMITS)
    assert isinstance(picture, DownloadedPicture)
    assert picture.body == JPEG
