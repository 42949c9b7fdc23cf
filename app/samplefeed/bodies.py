"""Documents' bodies: made when first asked for, kept as gzip up to a bound."""

from __future__ import annotations

import gzip
from collections import OrderedDict
from collections.abc import Callable, Hashable

GZIP_LEVEL = 1
MAX_KEPT_BYTES = 256 * 1024 * 1024


def pack(body: bytes) -> bytes:
    """The body as gzip, the same bytes for the same body."""
    return gzip.compress(body, GZIP_LEVEL, mtime=0)


class PackedBodies:
    """Bodies by key, as gzip; the ones asked for longest ago make room."""

    def __init__(self, max_kept_bytes: int = MAX_KEPT_BYTES) -> None:
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._max_kept_bytes = max_kept_bytes

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """The packed body for a key; `make` gives the plain one when it is not kept."""
        packed = self._kept.get(key)
        if packed is None:
            packed = self._kept[key] = pack(make())
            self._kept_bytes += len(packed)
            self._make_room()
        else:
            self._kept.move_to_end(key)
        return packed

    def _make_room(self) -> None:
        while self._kept_bytes > self._max_kept_bytes and len(self._kept) > 1:
            self._kept_bytes -= len(self._kept.popitem(last=False)[1])
