"""A body read under two caps: of the bytes on the wire and of the bytes once decompressed.

    chunks ─ counted ─▶ decoder (identity | gzip | deflate), 256 KiB at a time ─ counted ─▶ joined

Decompression never runs ahead of the cap, so a bomb costs a piece and not what it would open to, and it hands the event
loop back between pieces.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterable, Iterator

from app.errors import BodyTooLarge, OriginUnavailable, PermanentError
from app.signs_of_life import sign_of_life

PIECE_BYTES = 256 * 1024
MAX_GZIP_MEMBERS = 64
"""A gzip stream may consist of several; thousands of empty ones are an attack on the processor."""
ASKED_FOR = frozenset({"gzip", "x-gzip", "deflate"})
COMPRESSIONS = ASKED_FOR | {
    *("aes128gcm", "br", "brotli", "bz2", "bzip2", "compress", "dcb", "dcz", "exi", "lz4", "lzip", "lzma"),
    *("pack200-gzip", "sdch", "snappy", "x-bzip2", "x-compress", "x-lzma", "x-snappy-framed", "x-xz", "xz", "zstd"),
}
"""Every label that says that the bytes are others than the content's: IANA's registry and what is seen beside it."""
_GZIP_WBITS, _ZLIB_WBITS, _RAW_WBITS = 31, 15, -15


class IdentityDecoder:
    """Bytes as they came."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The decoded pieces of `data`, which may be none."""
        yield data

    def finish(self) -> None:
        """Called at the end of the body; there is nothing that could be missing."""


class ZlibDecoder:
    """gzip or deflate, the latter with and without the zlib header that half of all servers leave out."""

    def __init__(self, *, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._pending = b""
        self._members = 0
        self._stream: zlib._Decompress | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The decoded pieces of `data`, each at most PIECE_BYTES.

        Raises:
            zlib.error: the stream is damaged, or consists of too many members.
        """
        self._pending += data
        if self._stream is None and len(self._pending) < 2:
            return
        stream = self._stream = self._stream or self._open()
        more = True
        while more:
            stream = self._next_member(stream) if stream.eof else stream
            piece = stream.decompress(self._pending, PIECE_BYTES)
            self._pending = stream.unused_data if stream.eof else stream.unconsumed_tail
            yield piece
            more = bool(self._pending.strip(b"\0")) if stream.eof else len(piece) == PIECE_BYTES

    def finish(self) -> None:
        """The end of the body.

        Raises:
            zlib.error: the stream ended early.
        """
        if self._stream is None or not self._stream.eof:
            raise zlib.error("the compressed body ended early")

    def _next_member(self, ended: zlib._Decompress) -> zlib._Decompress:
        if not self._pending.strip(b"\0"):
            return ended
        self._members += 1
        if not self._is_gzip or self._members >= MAX_GZIP_MEMBERS:
            raise zlib.error("the compressed body goes on after its end")
        self._stream = self._open()
        return self._stream

    def _open(self) -> zlib._Decompress:
        if self._is_gzip:
            return zlib.decompressobj(_GZIP_WBITS)
        has_header = self._pending[0] & 0x0F == 8 and int.from_bytes(self._pending[:2], "big") % 31 == 0
        return zlib.decompressobj(_ZLIB_WBITS if has_header else _RAW_WBITS)


Decoder = IdentityDecoder | ZlibDecoder


def decoder_for(content_encoding: str | None) -> Decoder:
    """The decoder for a `Content-Encoding` header; several of them are joined by commas.

    Labels that name no compression (`utf-8`, `aws-chunked`, `none`, a media type) change no byte and are passed over:
    stores hand out whatever was noted when the file was put.

    Raises:
        PermanentError: a compression that was not asked for, or several on top of each other.
    """
    labels = (label.partition(";")[0].strip(" \t\"'").lower() for label in (content_encoding or "").split(","))
    named = [label for label in labels if label in COMPRESSIONS]
    if not named:
        return IdentityDecoder()
    if len(named) == 1 and named[0] in ASKED_FOR:
        return ZlibDecoder(is_gzip=named[0] != "deflate")
    raise PermanentError(f"the body is encoded as {', '.join(named)[:40]!r}, not as asked for", kind="encoding-refused")


async def read_body(chunks: AsyncIterable[bytes], decoder: Decoder, *, max_bytes: int, shown: object) -> bytes:
    """Read to the end, decoded; `max_bytes` bounds the encoded and the decoded bytes, `shown` is the masked address.

    Raises:
        BodyTooLarge: as soon as either is over the cap.
        OriginUnavailable: the compressed stream is damaged or ended early.
    """
    pieces: list[bytes] = []
    encoded = decoded = 0
    try:
        async for chunk in chunks:
            sign_of_life()
            encoded += len(chunk)
            check_size(encoded, max_bytes, shown)
            for piece in decoder.feed(chunk):
                decoded += len(piece)
                check_size(decoded, max_bytes, shown)
                pieces.append(piece)
                if len(piece) == PIECE_BYTES:
                    await asyncio.sleep(0)
        decoder.finish()
    except zlib.error as error:
        raise OriginUnavailable(f"{shown}: {_in_words(error)}") from None
    return b"".join(pieces)


def _in_words(error: zlib.error) -> str:
    """What is wrong with a compressed body.

    >>> _in_words(zlib.error("Error -3 while decompressing data: incorrect header check"))
    'the body is not compressed as its headers say, or damaged (incorrect header check)'
    >>> _in_words(zlib.error("the compressed body ended early"))
    'the compressed body ended early'
    """
    said = str(error)
    if not said.startswith("Error "):
        return said
    return f"the body is not compressed as its headers say, or damaged ({said.rpartition(': ')[2]})"


def check_size(size: int, max_bytes: int, shown: object) -> None:
    """Compare a size, announced or counted, with the cap.

    Raises:
        BodyTooLarge: it is over.
    """
    if size > max_bytes:
        raise BodyTooLarge(f"{shown}: the body is over {max_bytes} bytes")
