"""A PNG's compressed data, inflated and counted 1 MiB at a time without keeping any of it.

IHDR ─▶ bytes expected over all passes ─┐
IDAT… ─▶ inflated ──────────────────────┴▶ equal, or refused: for pictures too large to be decoded
zTXt, iTXt, iCCP ─▶ inflated ─▶ at most 32 MiB together, or refused
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterable, Iterator

from app.errors import PictureRefused
from app.images.parts import picture_parts

PIECE_BYTES = 1 << 20
METADATA_MAX_BYTES = 32 << 20
"""Far above any text or colour profile, and little for whoever opens it."""
CHECKSUM_BYTES = 4
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By colour type: grey, colour, palette, grey with alpha, colour with alpha."""
PLAIN = ((0, 0, 1, 1),)
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column, first row, step in columns, step in rows of each pass."""


def check_png_data(body: bytes) -> None:
    """Inflate the pixel data of a PNG whose chunks were checked, and compare its length with what the header promises.

    Raises:
        PictureRefused: there are fewer or more bytes, or they are damaged.
    """
    expected, found = _expected_bytes(body), 0
    try:
        for piece_bytes in _inflated(_data_chunks(body)):
            found += piece_bytes
            if found > expected:
                break
    except zlib.error:
        found = -1
    if found != expected:
        raise PictureRefused("the PNG's data and header do not agree", kind="picture-damaged")


def check_png_metadata(body: bytes) -> None:
    """Refuse a PNG, whose chunks were checked, with a bomb in its metadata; damage in it says nothing of the picture.

    Raises:
        PictureRefused: its texts and colour profile open to more than METADATA_MAX_BYTES.
    """
    found = 0
    for packed in _packed_metadata(body):
        with contextlib.suppress(zlib.error):
            for piece_bytes in _inflated([packed]):
                found += piece_bytes
                if found > METADATA_MAX_BYTES:
                    raise PictureRefused(
                        "the PNG's texts or colour profile open to over 32 MiB", kind="picture-damaged"
                    )


def _expected_bytes(body: bytes) -> int:
    width, height, depth, colour, interlaced = struct.unpack_from(">IIBBxxB", body, 16)
    bits, total = depth * CHANNELS.get(colour, 0), 0
    for left, top, across, down in ADAM7 if interlaced else PLAIN:
        columns, rows = max(0, -(-(width - left) // across)), max(0, -(-(height - top) // down))
        total += rows * (1 + (columns * bits + 7) // 8) if columns else 0
    return total


def _inflated(chunks: Iterable[bytes]) -> Iterator[int]:
    """The length of each inflated piece."""
    stream = zlib.decompressobj()
    for data in chunks:
        pending, full = data, True
        while (pending or full) and not stream.eof:
            piece = stream.decompress(pending, PIECE_BYTES)
            pending, full = stream.unconsumed_tail, len(piece) == PIECE_BYTES
            yield len(piece)


def _data_chunks(body: bytes) -> Iterator[bytes]:
    for part in picture_parts(body, "PNG"):
        if part.name == b"IDAT":
            yield body[part.content : part.end - CHECKSUM_BYTES]


def _packed_metadata(body: bytes) -> Iterator[bytes]:
    """What is compressed in each chunk of text or colour profile; what makes no sense is passed over."""
    for part in picture_parts(body, "PNG"):
        if part.name in {b"zTXt", b"iCCP"}:
            _, _, rest = body[part.content : part.end - CHECKSUM_BYTES].partition(b"\0")
            yield rest[1:]
        elif part.name == b"iTXt":
            _, _, rest = body[part.content : part.end - CHECKSUM_BYTES].partition(b"\0")
            if rest[:1] == b"\1":
                yield rest[2:].split(b"\0", 2)[-1]
