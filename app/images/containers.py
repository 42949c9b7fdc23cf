"""Where a picture's bytes begin and end, read from its container alone, before anything is decoded.

    body ─▶ JPEG | PNG | WebP | GIF by its first bytes ─▶ walk segments, chunks or blocks to the end ─▶ Layout

The walk answers what no single call of Pillow does: did the bytes end early (`CutShort`), how many pixels and frames
would decoding cost, and what follows the picture's end. It copies nothing and its cost is linear in the bytes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from app.errors import PictureRefused

MAX_JPEG_SCANS = 100
"""Each scan of a progressive JPEG goes over all pixels, so thousands of tiny scans are a bomb."""
JPEG_START = b"\xff\xd8\xff"
JPEG_MARKER = re.compile(rb"\xff[^\x00\xff]")
_JPEG_MARKER_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""Without a repetition or a group, so that the search runs from 0xFF to 0xFF at memory speed: 24 times as fast."""
JPEG_START_OF_SCAN, _JPEG_END = 0xDA, 0xD9
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BY_ROWS = frozenset({0xC0, 0xC1, 0xC9})
"""Sequential: a row is done with once it is read. Neither progressive nor lossless."""
_JPEG_USUAL_FRAMES = frozenset({0xC0, 0xC1})
"""Those of them with Huffman codes; arithmetic ones take many times as long."""
_BY_ROWS_BYTES = 0.3
_JPEG_TABLES = 0xDB
_JPEG_PLAIN_SEGMENTS = _JPEG_USUAL_FRAMES | {0xC4, JPEG_START_OF_SCAN, _JPEG_TABLES, 0xDD, *range(0xE0, 0xF0), 0xFE}
"""Frame, tables, restart interval, applications' and comments; a decoder reads others in its own way."""
MOST_PLAIN_SEGMENTS = 32
MOST_TABLE_BYTES = 1_024
"""Of quantization in a plain JPEG: Pillow takes 64 KB of it apart in Python. Four tables are 260, or 516."""
JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class CutShort(Exception):
    """The bytes end before the picture does."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What the container says. `width` and `height` are in pixels as stored, not as displayed."""

    pillow_format: str
    width: int
    height: int
    frames: int
    end: int
    """Where the picture's bytes end; what follows is not part of it."""
    decoded_bytes_per_pixel: float
    """Memory that Pillow takes to load it, measured, for each pixel."""
    plain: bool = False
    """See `plain_jpeg`."""


def read_layout(body: bytes) -> Layout | None:
    """Walk the container, or None when the bytes are none of the four formats.

    Raises:
        CutShort: the bytes end early.
        PictureRefused: the container contradicts itself, a checksum is wrong, or it is a bomb.
    """
    for magic, walk in _WALKS.items():
        if body.startswith(magic):
            return walk(body)
        if body and magic.startswith(body):
            raise CutShort
    return None


def _walk_jpeg(body: bytes) -> Layout:
    return plain_jpeg(body) or _walk_any_jpeg(body)


def _walk_any_jpeg(body: bytes) -> Layout:
    position, scans, pattern = 2, 0, JPEG_MARKER
    size: tuple[int, int] | None = None
    by_rows, components = False, 0
    while True:
        found = pattern.search(body, position)
        if found is None:
            raise CutShort
        marker, position = body[found.end() - 1], found.end()
        pattern = JPEG_MARKER
        if marker == _JPEG_END:
            break
        if marker in JPEG_ALONE:
            continue
        length = _number(body, position, 2, "big")
        if marker in _JPEG_FRAMES and size is None:
            height, width = _number(body, position + 3, 2, "big"), _number(body, position + 5, 2, "big")
            size = width, height
            by_rows, components = marker in _JPEG_BY_ROWS, _number(body, position + 7, 1, "big")
        if marker == JPEG_START_OF_SCAN:
            if scans == 0:
                by_rows = by_rows and _number(body, position + 2, 1, "big") == components
            scans, pattern = scans + 1, _JPEG_MARKER_AFTER_SCAN
        if length < 2 or scans > MAX_JPEG_SCANS:
            raise PictureRefused("the JPEG has an empty segment or too many scans", kind="picture-bomb")
        position += length
    if size is None or scans == 0:
        raise _damaged("the JPEG has no picture in it")
    # Rows are loaded at an eighth of their size; where one scan does not have all, its coefficients are kept meanwhile.
    return Layout("JPEG", *size, 1, position, _BY_ROWS_BYTES if by_rows else 7.0)


def plain_jpeg(body: bytes) -> Layout | None:
    """The layout of a JPEG that is made as nearly all are: its bytes and pixels bound the time that a look at it takes.

    A few segments, each right behind the one before; one sequential frame with Huffman codes; one scan, of all colours,
    with the picture's end behind it. None for any other, whatever is the matter with it.
    """
    frame, tables, position = b"", 0, 2
    for _ in range(MOST_PLAIN_SEGMENTS):
        start, content = body[position : position + 2], position + 4
        length = int.from_bytes(body[position + 2 : content], "big")
        if len(start) < 2 or start[0] != 0xFF or start[1] not in _JPEG_PLAIN_SEGMENTS or length < 2:
            return None
        if start[1] in _JPEG_USUAL_FRAMES:
            if frame or length != 8 + 3 * int.from_bytes(body[content + 5 : content + 6], "big"):
                return None
            frame = body[content : content + 6]
        tables += length if start[1] == _JPEG_TABLES else 0
        position += 2 + length
        if start[1] == JPEG_START_OF_SCAN:
            found = _JPEG_MARKER_AFTER_SCAN.search(body, position)
            all_colours = len(frame) == 6 and body[content : content + 1] == frame[5:]
            if not all_colours or tables > MOST_TABLE_BYTES or found is None or found[0][1] != _JPEG_END:
                return None
            height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
            return Layout("JPEG", width, height, 1, found.end(), _BY_ROWS_BYTES, plain=True)
    return None


def _walk_png(body: bytes) -> Layout:
    width, height, frames, position, has_data = 0, 0, 1, len(_PNG_SIGNATURE), False
    view = memoryview(body)
    while True:
        length, name = _number(body, position, 4, "big"), body[position + 4 : position + 8]
        end = position + 12 + length
        if len(name) == 4 and (not name.isalpha() or (position == 8) != (name == b"IHDR")):
            raise _damaged("the PNG's chunks make no sense")
        if end > len(body):
            raise CutShort
        if zlib.crc32(view[position + 4 : end - 4]) != _number(body, end - 4, 4, "big"):
            raise PictureRefused(f"the checksum of the PNG's {name.decode()} chunk is wrong", kind="picture-checksum")
        if name == b"IHDR":
            width, height = _number(body, position + 8, 4, "big"), _number(body, position + 12, 4, "big")
        elif name == b"acTL":
            frames = _number(body, position + 8, 4, "big")
        has_data = has_data or name == b"IDAT"
        position = end
        if name == b"IEND":
            break
    if not has_data:
        raise _damaged("the PNG has no picture in it")
    return Layout("PNG", width, height, frames, position, 4.0)


def _walk_webp(body: bytes) -> Layout:
    end = 8 + _number(body, 4, 4, "little")
    if body[8:12] != b"WEBP"[: len(body[8:12])]:
        raise PictureRefused("a RIFF file that is not WebP", kind="picture-unknown-type")
    if end > len(body) or len(body) < 20:
        raise CutShort
    sizes: dict[bytes, tuple[int, int]] = {}
    position, frames = 12, 0
    while position + 8 <= end:
        name, length = body[position : position + 4], _number(body, position + 4, 4, "little")
        if position + 8 + length > end:
            raise _damaged("a chunk of the WebP is longer than the file")
        if name in _WEBP_SIZES and name not in sizes:
            sizes[name] = _WEBP_SIZES[name](body, position + 8)
        frames += name == b"ANMF"
        position += 8 + length + (length & 1)
    if not sizes:
        raise _damaged("the WebP has no picture in it")
    width, height = sizes.get(b"VP8X") or next(iter(sizes.values()))
    return Layout("WEBP", width, height, max(frames, 1), end, 17.0)


def _vp8x_size(body: bytes, at: int) -> tuple[int, int]:
    return _number(body, at + 4, 3, "little") + 1, _number(body, at + 7, 3, "little") + 1


def _vp8_size(body: bytes, at: int) -> tuple[int, int]:
    return _number(body, at + 6, 2, "little") & 0x3FFF, _number(body, at + 8, 2, "little") & 0x3FFF


def _vp8l_size(body: bytes, at: int) -> tuple[int, int]:
    bits = _number(body, at + 1, 4, "little")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


_WEBP_SIZES = {b"VP8X": _vp8x_size, b"VP8 ": _vp8_size, b"VP8L": _vp8l_size}


def _walk_gif(body: bytes) -> Layout:
    if len(body) < 13:
        raise CutShort
    width, height = _number(body, 6, 2, "little"), _number(body, 8, 2, "little")
    position, frames = skip_gif_head(body), 0
    while True:
        block = _number(body, position, 1, "little")
        if block == 0x3B:
            break
        if block == 0x21:
            position = skip_sub_blocks(body, position + 2)
        elif block == 0x2C:
            frames += 1
            flags = _number(body, position + 9, 1, "little")
            position = skip_sub_blocks(body, position + 11 + _color_table(flags))
        else:
            raise _damaged("the GIF's blocks make no sense")
    if frames == 0:
        raise _damaged("the GIF has no picture in it")
    return Layout("GIF", width, height, frames, position + 1, 2.0)


def skip_gif_head(body: bytes) -> int:
    """Where a GIF's blocks begin, behind the screen's description and colours."""
    return 13 + _color_table(body[10])


def _color_table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def skip_sub_blocks(body: bytes, position: int) -> int:
    """Where the data that begins at `position`, a GIF's sub-blocks, ends.

    Raises:
        CutShort: the bytes end early.
    """
    try:
        while body[position]:
            position += body[position] + 1
    except IndexError:
        raise CutShort from None
    return position + 1


def _number(body: bytes, at: int, size: int, order: str) -> int:
    part = body[at : at + size]
    if len(part) < size:
        raise CutShort
    return int.from_bytes(part, "big" if order == "big" else "little")


def _damaged(why: str) -> PictureRefused:
    return PictureRefused(why, kind="picture-damaged")


_WALKS: dict[bytes, Callable[[bytes], Layout]] = {
    JPEG_START: _walk_jpeg,
    _PNG_SIGNATURE: _walk_png,
    b"RIFF": _walk_webp,
    b"GIF87a": _walk_gif,
    b"GIF89a": _walk_gif,
}
