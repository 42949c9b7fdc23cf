"""A PNG's compressed data, inflated and counted a piece at a time without keeping any of it.

IHDR ─▶ bytes expected over all passes ─┐
IDAT… ─▶ inflated ──────────────────────┼▶ equal, or refused: for pictures too large to be decoded
                                        └▶ the usual kind, equal, each row's filter known, nothing behind: sound
zTXt, iTXt, iCCP ─▶ inflated ─▶ at most 32 MiB together, or refused

By zlib-ng: a tenth of the time that Pillow takes to decode such a picture, or less (docs/decisions/0037).
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable, Iterator

from zlib_ng import zlib_ng

from app.errors import PictureRefused
from app.images.parts import picture_parts

DAMAGED: type[Exception] = zlib_ng.error  # type: ignore[assignment]  # an instance, says the stub
PIECE_BYTES, SLICE_BYTES = 256 << 10, 64 << 10
"""Of what is inflated, and of what it is inflated from: what is left of a slice is copied at every piece."""
METADATA_MAX_BYTES = 32 << 20
"""Far above any text or colour profile, and little for whoever opens it."""
CHECKSUM_BYTES = 4
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By colour type: grey, colour, palette, grey with alpha, colour with alpha."""
PLAIN = ((0, 0, 1, 1),)
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column, first row, step in columns, step in rows of each pass."""
HEAD = struct.Struct(">I4sIIBBBBB")
"""The first chunk's length and name, and what it says: width, height, depth, colour type, three methods."""
HEAD_BYTES, SIGNATURE_BYTES = 13, 8
USUAL_DEPTH, USUAL_COLOURS = 8, frozenset({0, 2, 4, 6})
USUAL_CHUNKS = frozenset({b"IHDR", b"IDAT", b"IEND"})
FILTERS = bytes(range(5))
"""What a row may begin with."""


def is_sound(body: bytes) -> bool:
    """Whether a PNG whose chunks were checked is of the usual kind and whole beyond doubt: Pillow takes it.

    That is: 8 bits, no palette, not interlaced, nothing but pixel data to decode, which inflates to as many bytes as
    the header promises, ends there with its checksum right, and begins each row with one of the five filters. What is
    not may be a picture all the same: a decoder has to say.
    """
    length, _, width, height, depth, colour, *methods = HEAD.unpack_from(body, SIGNATURE_BYTES)
    usual = length == HEAD_BYTES and depth == USUAL_DEPTH and colour in USUAL_COLOURS and not any(methods)
    parts = (part.name for part in picture_parts(body, "PNG") if not part.is_metadata)
    if not usual or any(name not in USUAL_CHUNKS for name in parts):
        return False
    row, found = 1 + width * CHANNELS[colour], 0
    try:
        for piece in _inflated(_data_chunks(body), to_the_end=True):
            if piece[-found % row :: row].translate(None, FILTERS):
                return False
            found += len(piece)
            if found > row * height:
                return False
    except DAMAGED:
        return False
    return bool(found == row * height)


def check_png_data(body: bytes) -> None:
    """Inflate the pixel data of a PNG whose chunks were checked, and compare its length with what the header promises.

    Raises:
        PictureRefused: there are fewer or more bytes, or they are damaged.
    """
    expected, found = _expected_bytes(body), 0
    try:
        for piece in _inflated(_data_chunks(body)):
            found += len(piece)
            if found > expected:
                break
    except DAMAGED:
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
        with contextlib.suppress(DAMAGED):
            for piece in _inflated([packed]):
                found += len(piece)
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


def _inflated(chunks: Iterable[bytes | memoryview], *, to_the_end: bool = False) -> Iterator[bytes]:
    """The inflated pieces; the stream has `to_the_end` of the chunks, no byte before it and no byte after it.

    Raises:
        DAMAGED: the data is damaged, or ends elsewhere.
    """
    stream = zlib_ng.decompressobj()
    for data in (data for chunk in chunks for data in _in_slices(memoryview(chunk))):
        if to_the_end and stream.eof:
            raise DAMAGED("there is more behind the end")
        pending: bytes | memoryview = data
        full = True
        while (pending or full) and not stream.eof:
            piece = stream.decompress(pending, PIECE_BYTES)
            pending, full = stream.unconsumed_tail, len(piece) == PIECE_BYTES
            yield piece
    if to_the_end and (not stream.eof or stream.unused_data):
        raise DAMAGED("the data ends elsewhere")


def _in_slices(data: memoryview) -> Iterator[memoryview]:
    for at in range(0, len(data), SLICE_BYTES):
        yield data[at : at + SLICE_BYTES]


def _data_chunks(body: bytes) -> Iterator[memoryview]:
    view = memoryview(body)
    for part in picture_parts(body, "PNG"):
        if part.name == b"IDAT":
            yield view[part.content : part.end - CHECKSUM_BYTES]


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
