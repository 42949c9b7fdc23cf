"""An origin of pictures whose bytes and validators a test decides, and documents that show them.

PictureOrigin: path -> bytes, ETag; counts what it gave (200) and what it confirmed (304)
show / feed_showing: variants of a sample feed that show these addresses and no others
"""

from __future__ import annotations

import io
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from app.samplefeed import FeedSpec, SampleFeed
from tests.support.raw_http import RawServer, Script, answer, serve

Json = dict[str, Any]
_CONDITION = re.compile(r"^if-none-match: *(.+?)\r?$", re.IGNORECASE | re.MULTILINE)


@dataclass
class PictureOrigin:
    """What is served; `scripts` of a path go first, one a request."""

    server: RawServer = field(default_factory=lambda: RawServer("127.0.0.1"))
    bodies: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    scripts: defaultdict[str, list[Script]] = field(default_factory=lambda: defaultdict(list))
    given: Counter[str] = field(default_factory=Counter)
    """Whole answers by path, 200."""
    confirmed: Counter[str] = field(default_factory=Counter)
    """Answers without a body by path, 304."""
    asked: Counter[str] = field(default_factory=Counter)

    def put(self, path: str, body: bytes, etag: str = "1") -> str:
        """Serve `body` at `path` from now on; gives its address."""
        self.bodies[path], self.etags[path] = body, f'"{path}-{etag}"'
        return self.url(path)

    def url(self, path: str) -> str:
        return self.server.url(path)

    def forget(self) -> None:
        """Count anew."""
        for counter in (self.given, self.confirmed, self.asked):
            counter.clear()

    def script(self, head: str) -> Script:
        """What a request is answered."""
        path = head.split(" ", 2)[1]
        self.asked[path] += 1
        if self.scripts[path]:
            return self.scripts[path].pop(0)
        body = self.bodies.get(path)
        if body is None:
            return [answer(b"gone", status=404)]
        condition = _CONDITION.search(head)
        if condition is not None and condition[1] == self.etags[path]:
            self.confirmed[path] += 1
            return [answer(status=304, length=None, ETag=self.etags[path])]
        self.given[path] += 1
        return [answer(body, Content_Type="image/jpeg", ETag=self.etags[path])]


@asynccontextmanager
async def picture_origin() -> AsyncIterator[PictureOrigin]:
    """Serve until the block ends."""
    origin = PictureOrigin()
    async with serve(origin.script) as server:
        origin.server = server
        yield origin


def jpeg(seed: int, width: int = 40, height: int = 30) -> bytes:
    """A small picture that no other seed has."""
    picture = Image.new("RGB", (width, height), (seed * 37 % 256, seed * 91 % 256, seed * 11 % 256))
    picture.putpixel((seed % width, 0), (seed % 256, 255, 0))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", comment=str(seed).encode())
    return buffer.getvalue()


def bare_feed(count: int = 1, families: int = 1, variants: int = 1) -> SampleFeed:
    """Families of an ordinary shape whose variants show nothing yet."""
    feed = SampleFeed(FeedSpec.small(count=count, families=families, variants=variants, oddities=False))
    for entry in list(feed.entries()):
        show(feed, entry.file_name.removesuffix(".json"))
    return feed


def skus_of(feed: SampleFeed, supplier: str | None = None) -> list[str]:
    """The families of a feed, or of one supplier."""
    return [entry.file_name.removesuffix(".json") for entry in feed.entries(supplier)]


def show(feed: SampleFeed, sku: str, *shown: Sequence[str]) -> None:
    """Let the family's first variant show the first addresses, the second the second, and the rest nothing."""

    def change(document: Json) -> None:
        _place(document, ())
        for index, child in enumerate(document["ChildProducts"]):
            _place(child, shown[index] if index < len(shown) else ())

    feed.edit(sku, change)


def _place(part: Json, urls: Sequence[str]) -> None:
    for details in part["ProductDetails"].values():
        details["Image"] = {"Url": urls[0], "Description": "", "FileName": "x.jpg"} if urls else None
        details["MediaGalleryImages"] = [{"Url": url, "Description": "", "FileName": "x.jpg"} for url in urls[1:]]
