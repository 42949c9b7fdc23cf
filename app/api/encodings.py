"""Content codings: which one a caller wants, and the encoders (RFC 9110, 12.5.3).

zstd only where it is named: a caller that takes anything (`*`) is given gzip, which everybody reads.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import zstandard
from zlib_ng import zlib_ng

GZIP_LEVEL = 2
"""Of zlib-ng: a product of 203 KB in 0.15 ms, 8.4 % of its bytes; zlib at 3 took 0.44 ms for 8.0 % (decision 0036)."""
ZSTD_LEVEL = 2
"""A real document of 181 KB in 0.12 ms, 4.5 % of its bytes; at 3 in 0.21 ms, 4.2 %."""
ZSTD_WINDOW_LOG = 20
"""A window of 1 MiB: what a stream keeps for its caller while it is read slowly."""
_GZIP_WINDOW_BITS = 31
"""zlib's word for a gzip frame with the largest window, 32 KiB."""


class Encoder(Protocol):
    """One answer's encoder; its calls may be made on any thread, one after the other."""

    at_once_bytes: float
    """What is encoded where it is: a fraction of a millisecond for a product, three where nothing repeats itself."""

    def add(self, data: bytes) -> bytes:
        """Encode more; some of it may be given back later."""

    def flush(self) -> bytes:
        """What is left: whatever was added can be decoded from what has been given back."""

    def end(self, data: bytes) -> bytes:
        """Encode the last of it."""


class Plain:
    """See Encoder: none."""

    at_once_bytes: float = math.inf

    def add(self, data: bytes) -> bytes:
        """See Encoder."""
        return data

    def flush(self) -> bytes:
        """See Encoder."""
        return b""

    def end(self, data: bytes) -> bytes:
        """See Encoder."""
        return data


class Gzip:
    """See Encoder."""

    at_once_bytes: float = 256 * 1024

    def __init__(self) -> None:
        self._stream = zlib_ng.compressobj(GZIP_LEVEL, zlib_ng.DEFLATED, _GZIP_WINDOW_BITS)

    def add(self, data: bytes) -> bytes:
        """See Encoder."""
        return self._stream.compress(data)

    def flush(self) -> bytes:
        """See Encoder."""
        return self._stream.flush(zlib_ng.Z_SYNC_FLUSH)

    def end(self, data: bytes) -> bytes:
        """See Encoder."""
        return self._stream.compress(data) + self._stream.flush()


class Zstd:
    """See Encoder."""

    at_once_bytes: float = 1024 * 1024

    def __init__(self) -> None:
        parameters = zstandard.ZstdCompressionParameters.from_level(ZSTD_LEVEL, window_log=ZSTD_WINDOW_LOG)
        self._stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()

    def add(self, data: bytes) -> bytes:
        """See Encoder."""
        return self._stream.compress(data)

    def flush(self) -> bytes:
        """See Encoder."""
        return self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def end(self, data: bytes) -> bytes:
        """See Encoder."""
        return self._stream.compress(data) + self._stream.flush()


async def in_passing(encoder: Encoder, encode: Callable[[bytes], bytes], data: bytes) -> bytes:
    """Let one of the encoder's calls encode: on a thread what takes more than a moment."""
    return encode(data) if len(data) <= encoder.at_once_bytes else await asyncio.to_thread(encode, data)


def encoder_of(coding: str | None) -> Encoder:
    """A new encoder of a coding, or of none."""
    return Plain() if coding is None else ENCODERS[coding]()


ENCODERS: Mapping[str, Callable[[], Encoder]] = {"zstd": Zstd, "gzip": Gzip}
"""By coding, the better one first."""
_NAMED_ALONE = frozenset({"zstd"})


def wanted_coding(accept_encoding: Sequence[str]) -> str | None:
    """The coding that a caller likes best, by the values of its Accept-Encoding; None for an answer as it is.

    >>> [wanted_coding([said]) for said in ("gzip, deflate, br, zstd", "gzip;q=1, zstd;q=0.5", "*", "br")]
    ['zstd', 'gzip', 'gzip', None]
    >>> [wanted_coding([said]) for said in ("identity, gzip;q=0.5", "gzip;q=0, *", "*;q=0", "GZIP ; q=0.1")]
    [None, None, None, 'gzip']
    """
    weights = weights_of(",".join(accept_encoding))
    best, best_weight = None, weights.get("identity", 0.0)
    for coding in ENCODERS:
        anything = 0.0 if coding in _NAMED_ALONE else weights.get("*", 0.0)
        weight = weights.get(coding, anything)
        if weight > best_weight or (weight == best_weight > 0 and best is None):
            best, best_weight = coding, weight
    return best


def weights_of(text: str) -> dict[str, float]:
    """Each coding, or type, that is named with its weight; what makes no sense is not wanted.

    >>> weights_of("application/json;charset=utf-8, Application/X-NDJSON;q=0.5")
    {'application/json': 1.0, 'application/x-ndjson': 0.5}
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, parameters = part.partition(";")
        coding = name.strip().lower()
        weights["gzip" if coding == "x-gzip" else coding] = _weight(parameters)
    return weights


def _weight(parameters: str) -> float:
    named = dict(parameter.strip().lower().partition("=")[::2] for parameter in parameters.split(";"))
    try:
        weight = float(named.get("q", 1))
    except ValueError:
        return 0.0
    return min(weight, 1.0) if math.isfinite(weight) else 0.0
