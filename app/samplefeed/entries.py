"""One document of the feed: where it stands, what it holds, and what the manifest says of it."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from urllib.parse import quote

from app.samplefeed.bodies import pack
from app.samplefeed.plans import DocumentPlan
from app.samplefeed.seeded import digest


@dataclass(slots=True)
class Entry:
    """A document's entry. What a plan makes is not kept; what was put in its place is, packed."""

    supplier: str
    file_name: str
    plan: DocumentPlan | None
    revision: int = 0
    """Moves with the hash."""
    content: int = 0
    """Moves with the body."""
    body: bytes | None = None
    """Packed; None where the plan makes it."""
    previous: bytes | None = None
    """Packed: the body before the last change, or None where that was the plan's."""
    told_hash: str | None = None
    """The manifest's hash where it was set by hand; empty for a line without one."""
    listed: bool = True
    served: bool = True

    @property
    def path(self) -> str:
        """The path under the profile's base, percent-encoded, without a leading slash."""
        return document_path(self.supplier, self.file_name)

    def hash(self, seed: int) -> str:
        """The manifest's hash: from seed, name and revision, so that no body has to be made for it."""
        return self.told_hash if self.told_hash is not None else digest(seed, self.path, self.revision)

    def put(self, body: bytes | None) -> None:
        """Take another body (None: the plan's own again), and remember the one before for a stale answer."""
        self.previous = self.body
        self.body = None if body is None else pack(body)
        self.content += 1

    def put_aside(self) -> bytes | None:
        """The plain body before the last change, or None where that was the plan's."""
        return None if self.previous is None else gzip.decompress(self.previous)


def document_path(supplier: str, file_name: str) -> str:
    """Where a document stands under the profile's base, percent-encoded."""
    return f"{quote(supplier)}/{quote(file_name, safe='%')}"
