"""The parts that a picture whose container was checked consists of, and which of them are metadata.

    body ─▶ JPEG segments | PNG chunks | WebP chunks | GIF extensions ─▶ metadata: left out of what Pillow reads
                                                                     └─ EXIF: its bytes, for the orientation

Metadata says nothing about whether a picture is whole, and a library that decodes it gives up over its size or takes
memory for it. So nothing decodes it: Pillow is given the picture without it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import NamedTuple

from app.images.containers import JPEG_ALONE, JPEG_MARKER, JPEG_START_OF_SCAN, Layout, skip_gif_head, skip_sub_blocks

_PNG_ANCILLARY_TO_DECODE = frozenset({b"tRNS", b"acTL", b"fcTL", b"fdAT"})
_WEBP_TO_DECODE = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"})
_WEBP_EXIF_FLAG = 0x08
_WEBP_METADATA_FLAGS = 0x20 | _WEBP_EXIF_FLAG | 0x04
"""Colour profile, EXIF and XMP."""
_JPEG_METADATA = frozenset({0xFE, *range(0xE1, 0xF0)}) - {0xEE}
"""Comments and application segments, but for JFIF's and Adobe's, which say what colours the samples are."""
_GIF_GRAPHIC_CONTROL = 0xF9
_EXIF_NAMES = {"JPEG": b"\xe1", "PNG": b"eXIf", "WEBP": b"EXIF"}
_EXIF_MARK = b"Exif\0\0"


class Part(NamedTuple):
    """A segment, chunk or extension: `body[start:end]`, with its content at `content`."""

    name: bytes
    start: int
    content: int
    end: int
    is_metadata: bool


def picture_parts(body: bytes, pillow_format: str) -> Iterator[Part]:
    """The parts of a picture whose container was checked, one at a time, since a body may hold a million.

    A JPEG's up to its first scan and a GIF's up to its first frame: nothing reads further for metadata.
    """
    return _PARTS[pillow_format](body)


def without_metadata(body: bytes, layout: Layout) -> io.BytesIO:
    """The picture without its metadata and without what follows its end, for a decoder to read."""
    view, kept, at = memoryview(body), io.BytesIO(), 0
    for part in picture_parts(body, layout.pillow_format):
        if part.is_metadata:
            kept.write(view[at : part.start])
            at = part.end
    kept.write(view[at : layout.end])
    if layout.pillow_format == "WEBP":
        _mend_webp_head(kept)
    kept.seek(0)
    return kept


def find_exif(body: bytes, layout: Layout) -> memoryview:
    """The EXIF block that browsers heed, beginning with its TIFF header; empty where there is none."""
    view, wanted = memoryview(body), _EXIF_NAMES.get(layout.pillow_format)
    for part in picture_parts(body, layout.pillow_format) if wanted else ():
        if part.name == b"IDAT" or (part.name == b"VP8X" and not body[part.content] & _WEBP_EXIF_FLAG):
            break
        if part.name == wanted:
            marked = view[part.content : part.content + len(_EXIF_MARK)] == _EXIF_MARK
            if marked or layout.pillow_format != "JPEG":  # whose XMP comes in the same kind of segment
                return view[part.content + len(_EXIF_MARK) * marked : part.end]
    return view[:0]


def _mend_webp_head(kept: io.BytesIO) -> None:
    """The file's length, and no promise of metadata that was left out."""
    with kept.getbuffer() as head:
        head[4:8] = (len(head) - 8).to_bytes(4, "little")
        if bytes(head[12:16]) == b"VP8X":
            head[20] &= ~_WEBP_METADATA_FLAGS & 0xFF


def _jpeg_segments(body: bytes) -> Iterator[Part]:
    position = 2
    while found := JPEG_MARKER.search(body, position):
        marker, position = body[found.end() - 1], found.end()
        if marker == JPEG_START_OF_SCAN:
            return
        if marker in JPEG_ALONE:
            continue
        end = position + int.from_bytes(body[position : position + 2], "big")
        yield Part(bytes([marker]), found.start(), position + 2, end, marker in _JPEG_METADATA)
        position = end


def _png_chunks(body: bytes) -> Iterator[Part]:
    position, name = 8, b""
    while name != b"IEND":
        length, name = int.from_bytes(body[position : position + 4], "big"), body[position + 4 : position + 8]
        ancillary = name[:1].islower() and name not in _PNG_ANCILLARY_TO_DECODE
        yield Part(name, position, position + 8, position + 12 + length, ancillary)
        position += 12 + length


def _webp_chunks(body: bytes) -> Iterator[Part]:
    position, end = 12, 8 + int.from_bytes(body[4:8], "little")
    while position + 8 <= end:
        name, length = body[position : position + 4], int.from_bytes(body[position + 4 : position + 8], "little")
        after = min(position + 8 + length + (length & 1), end)
        yield Part(name, position, position + 8, after, name not in _WEBP_TO_DECODE)
        position = after


def _gif_extensions(body: bytes) -> Iterator[Part]:
    position = skip_gif_head(body)
    while body[position] == 0x21:
        label, end = body[position + 1], skip_sub_blocks(body, position + 2)
        yield Part(bytes([label]), position, position + 2, end, label != _GIF_GRAPHIC_CONTROL)
        position = end


_PARTS: dict[str, Callable[[bytes], Iterator[Part]]] = {
    "JPEG": _jpeg_segments,
    "PNG": _png_chunks,
    "WEBP": _webp_chunks,
    "GIF": _gif_extensions,
}
