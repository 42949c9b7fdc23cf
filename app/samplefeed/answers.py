"""What a path answers when nothing is wrong: body, type, validators."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

from app.samplefeed.feed import SampleFeed
from app.samplefeed.request_log import Kind
from app.samplefeed.seeded import digest

FIRST_MODIFIED = datetime(2025, 5, 1, tzinfo=UTC)
NOT_FOUND_TEXT = b"not found"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `packed` is the body as gzip, where there is one; then `body` is unpacked only when wanted."""

    status: int
    body: bytes
    content_type: str
    etag: str | None = None
    last_modified: datetime | None = None
    packed: bytes | None = None

    def plain(self) -> bytes:
        """The body, not packed."""
        return self.body if self.packed is None else gzip.decompress(self.packed)

    def with_body(self, body: bytes) -> Answer:
        """The same answer around another body."""
        return replace(self, body=body, packed=None, etag=None, last_modified=None)

    def headers(self) -> dict[str, str]:
        """The headers that belong to the body."""
        headers = {"Content-Type": self.content_type}
        if self.etag is not None:
            headers["ETag"] = self.etag
        if self.last_modified is not None:
            headers["Last-Modified"] = format_datetime(self.last_modified, usegmt=True)
        return headers


NOT_FOUND = Answer(404, NOT_FOUND_TEXT, "text/plain")


def kind_of(feed: SampleFeed, path: str) -> Kind:
    """Which kind of thing a path asks for."""
    if path.startswith("/Images/"):
        return "picture"
    if not path.startswith(feed.base_path):
        return "other"
    if path == f"{feed.base_path}/Import/Import.txt":
        return "manifest"
    if path.endswith("/CAT.csv"):
        return "category"
    return "document" if path.lower().endswith(".json") else "other"


def answer(feed: SampleFeed, kind: Kind, path: str) -> Answer:
    """What stands at a path."""
    if kind == "manifest":
        return _text(feed, feed.manifest(), "text/plain")
    if kind == "category":
        at_its_place = path == f"{feed.base_path}/CAT.csv" and feed.categories is not None
        return _text(feed, feed.categories or b"", "text/csv") if at_its_place else NOT_FOUND
    if kind == "picture":
        return _picture(feed, path)
    return _document(feed, path) if kind == "document" else NOT_FOUND


def is_unchanged(found: Answer, if_none_match: str | None, if_modified_since: str | None) -> bool:
    """What the client has is what there is; the entity tag decides where both are sent."""
    if found.status != 200:
        return False
    if if_none_match is not None and found.etag is not None:
        tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
        return found.etag in tags or "*" in tags
    if if_modified_since is None or found.last_modified is None:
        return False
    try:
        return found.last_modified <= parsedate_to_datetime(if_modified_since)
    except ValueError:
        return False


def _text(feed: SampleFeed, body: bytes, content_type: str) -> Answer:
    # A second later with every change, so that two changes within a second are told apart.
    modified = FIRST_MODIFIED + timedelta(seconds=feed.version)
    tag = f'"{digest(feed.spec.seed, feed.base_url, feed.version, len(body))}"'
    return Answer(200, body, content_type, tag, modified)


def _picture(feed: SampleFeed, path: str) -> Answer:
    found = feed.picture(path)
    if found is None:
        return NOT_FOUND
    # Its length tells bytes that were put in a picture's place apart from the picture's own.
    tag = f'"{path[-44:-4]}-{len(found[0])}"'
    return Answer(200, found[0], found[1], tag, FIRST_MODIFIED)


def _document(feed: SampleFeed, path: str) -> Answer:
    entry = feed.entry_at(path.removeprefix(f"{feed.base_path}/"))
    if entry is None:
        return NOT_FOUND
    return Answer(200, b"", "application/json", packed=feed.packed_document(entry))
