"""Bodies as they went out, kept by their ETags: what is asked for again is neither built nor encoded again.

    ETag, coding ─▶ kept? ─▶ its bytes
                     └ no ─▶ built, encoded, kept; what nobody asked for the longest makes room

An ETag is made of everything that a body depends on (`validators.py`), so one that was kept under it is right for as
long as anybody asks for that ETag, and nothing has to be told when a product changes. Each process keeps its own.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

MOST_BYTES = 32 * 1024 * 1024
"""Of all bodies together: two to three thousand real products as gzip, twenty thousand as zstd."""
LARGEST_SHARE = 16
"""A body larger than this part of it is not kept: a page of whole products would push everything else out."""
OVERHEAD_BYTES = 500
"""What a small body costs beside its bytes."""


class Body(msgspec.Struct, frozen=True):
    """A whole body and the coding that it is in; None for as it is."""

    data: bytes
    coding: str | None


class KeptBodies:
    """The bodies of one process."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, str | None], Body] = OrderedDict()

    def find(self, etag: str, wanted: str | None) -> Body | None:
        """The body of this ETag for who wants this coding, if it was kept."""
        body = self._kept.get((etag, wanted))
        if body is not None:
            self._kept.move_to_end((etag, wanted))
        return body

    def keep(self, etag: str, wanted: str | None, body: Body) -> None:
        """Keep what was built for who wants this coding; a small one may be as it is all the same."""
        if len(body.data) > self._most_bytes // LARGEST_SHARE or (etag, wanted) in self._kept:
            return
        self._kept[etag, wanted] = body
        self._bytes += _cost(body)
        while self._bytes > self._most_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= _cost(oldest)


def _cost(body: Body) -> int:
    return len(body.data) + OVERHEAD_BYTES
