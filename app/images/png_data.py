"""A PNG's pixel data against its header, without keeping a pixel: for pictures too large to be decoded.

IHDR ─▶ bytes expected over all passes ─┐
IDAT… ─▶ inflated 1 MiB at a time ──────┴▶ equal, or refused
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from app.errors import PictureRefused

PIECE_BYTES = 1 << 20
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
        for piece_bytes in _inflated(body):
            found += piece_bytes
            if found > expected:
                break
    except zlib.error:
        found = -1
    if found != expected:
        raise PictureRefused("the PNG's data and header do not agree", kind="picture-damaged")


def _expected_bytes(body: bytes) -> int:
    width, height, depth, colour, interlaced = struct.unpack_from(">IIBBxxB", body, 16)
    bits, total = depth * CHANNELS.get(colour, 0), 0
    for left, top, across, down in ADAM7 if interlaced else PLAIN:
        columns, rows = max(0, -(-(width - left) // across)), max(0, -(-(height - top) // down))
        total += rows * (1 + (columns * bits + 7) // 8) if columns else 0
    return total


def _inflated(body: bytes) -> Iterator[int]:
    """The length of each inflated piece."""
    stream = zlib.decompressobj()
    for data in _data_chunks(body):
        pending, full = data, True
        while (pending or full) and not stream.eof:
            piece = stream.decompress(pending, PIECE_BYTES)
            pending, full = stream.unconsumed_tail, len(piece) == PIECE_BYTES
            yield len(piece)


def _data_chunks(body: bytes) -> Iterator[bytes]:
    position = 8
    while position < len(body):
        length, name = int.from_bytes(body[position : position + 4], "big"), body[position + 4 : position + 8]
        if name == b"IDAT":
            yield body[position + 8 : position + 8 + length]
        position += 12 + length
