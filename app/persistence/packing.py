"""JSON values packed for storage: large values that SQL never looks into.

PostgreSQL would parse them, compress them with pglz (slow, and no better than zstd at its fastest), and send them as
text; packed by us they are bytes to it.
"""

from __future__ import annotations

from threading import local
from typing import Any

import orjson
import zstandard

LEVEL = 1


class _Unpacker(local):
    """One of each thread: setting one up takes as long as unpacking ten kilobytes."""

    def __init__(self) -> None:
        self.unpack = zstandard.ZstdDecompressor().decompress


_unpacker = _Unpacker()


def pack_json(value: Any) -> bytes:
    """A JSON value as zstd."""
    return zstandard.compress(orjson.dumps(value), LEVEL)


def unpack_json(packed: bytes) -> Any:
    """The JSON value that `pack_json` packed."""
    return orjson.loads(unpack_bytes(packed))


def unpack_bytes(packed: bytes) -> bytes:
    """The same as JSON text."""
    return _unpacker.unpack(packed)
