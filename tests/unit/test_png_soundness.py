"""A PNG that is judged without a decoder: Pillow would take it, and nothing else is judged so."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.images.inspect import check_container
from app.images.png_data import is_sound
from tests.support.hostile_pictures import MAX_PIXELS, chunk, noise, png, saved

WIDTH, HEIGHT = 7, 5
ROWS = b"".join(bytes([number % 5]) + bytes(range(WIDTH)) for number in range(HEIGHT))
PACKED = zlib.compress(ROWS)
WRONG_SUM = PACKED[:-1] + bytes([PACKED[-1] ^ 1])


def picture(head: bytes, *chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunks) + chunk(b"IEND", b"")


def head(width: int = WIDTH, height: int = HEIGHT, colour: int = 0, methods: bytes = bytes(3)) -> bytes:
    return struct.pack(">IIBB", width, height, 8, colour) + methods


def in_chunks(*pieces: bytes, before: bytes = b"", said: bytes = head()) -> bytes:
    """A grey picture whose data comes in so many chunks."""
    return picture(said, before, *(chunk(b"IDAT", piece) for piece in pieces))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (301, 99), (700, 500)])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_what_libraries_write_is_sound(mode: str, size: tuple[int, int], level: int) -> None:
    assert is_sound(saved(noise(*size).convert(mode), "PNG", compress_level=level))


SOUND = {
    "one chunk": in_chunks(PACKED),
    "a byte a chunk, one of them empty": in_chunks(b"", *(PACKED[at : at + 1] for at in range(len(PACKED)))),
    "an empty chunk behind the data": in_chunks(PACKED, b""),
    "texts before and between": in_chunks(PACKED[:9], PACKED[9:], before=chunk(b"tEXt", b"a\0b")),
}
OTHERS = {
    "a palette": saved(noise().convert("P"), "PNG"),
    "one bit": saved(noise().convert("1"), "PNG"),
    "sixteen bits": saved(noise().convert("I;16"), "PNG"),
    "one colour is clear": in_chunks(PACKED, before=chunk(b"tRNS", b"\0\1")),
    "something critical that nobody knows": in_chunks(PACKED, before=chunk(b"ABCD", b"")),
    "a chunk of frames": in_chunks(PACKED, before=chunk(b"acTL", b"\0\0\0\1\0\0\0\0")),
    "another compression": in_chunks(PACKED, said=head(methods=b"\1\0\0")),
    "another set of filters": in_chunks(PACKED, said=head(methods=b"\0\1\0")),
    "interlaced": in_chunks(PACKED, said=head(methods=b"\0\0\1")),
    "a byte too few": in_chunks(zlib.compress(ROWS[:-1])),
    "a byte too many": in_chunks(zlib.compress(ROWS + b"\0")),
    "nothing": in_chunks(b""),
    "no end": in_chunks(PACKED[:-5]),
    "half a checksum": in_chunks(PACKED[:-2]),
    "a wrong checksum": in_chunks(WRONG_SUM),
    "a byte behind the end": in_chunks(PACKED + b"\0"),
    "a chunk behind the end": in_chunks(PACKED, b"\0"),
    "no zlib stream": in_chunks(ROWS),
    "a filter that there is not": in_chunks(
        zlib.compress(ROWS[: 3 * (WIDTH + 1)] + b"\5" + ROWS[3 * (WIDTH + 1) + 1 :])
    ),
    "a longer header": in_chunks(PACKED, said=head() + b"\0"),
}


@pytest.mark.parametrize("name", SOUND)
def test_it_may_come_in_any_chunks(name: str) -> None:
    check_container(SOUND[name], MAX_PIXELS)
    assert is_sound(SOUND[name])
    assert loads(SOUND[name])


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_of_the_usual_kind_or_not_whole_is_left_to_the_decoder(name: str) -> None:
    check_container(OTHERS[name], MAX_PIXELS)
    assert not is_sound(OTHERS[name])


def test_little_of_a_large_chunk_is_held_at_once() -> None:
    """What is left of it is copied for each piece: all of it would be, time and again."""
    body = in_one_chunk(noise(1500, 1000))
    tracemalloc.start()
    try:
        assert is_sound(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20 < len(body) / 4


def in_one_chunk(image: Image.Image) -> bytes:
    width, height = image.size
    raw, row = image.convert("RGB").tobytes(), 3 * width
    rows = b"".join(b"\0" + raw[at : at + row] for at in range(0, len(raw), row))
    return picture(head(width, height, 2), chunk(b"IDAT", zlib.compress(rows, 1)))


def test_rows_are_told_apart_across_pieces() -> None:
    """A filter that there is not in any row of a picture whose data inflates to several pieces."""
    width, height = 997, 700
    rows = bytearray((b"\0" + bytes(range(256)) * 4)[: width + 1] * height)
    for row in (0, 1, 262, 263, 264, 525, 526, height - 1):
        wrong = bytearray(rows)
        wrong[row * (width + 1)] = 5
        assert not is_sound(png(width, height, zlib.compress(bytes(wrong), 1)))
    assert is_sound(png(width, height, zlib.compress(bytes(rows), 1)))


@given(
    mode=st.sampled_from(["L", "LA", "RGB", "RGBA"]),
    level=st.integers(0, 9),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=3),
    inside=st.booleans(),
)
def test_whatever_is_sound_is_taken_by_the_decoder(
    mode: str, level: int, changes: list[tuple[float, int]], *, inside: bool
) -> None:
    """Bytes changed in the compressed data or in what it holds, under checksums that are right."""
    channels = len(mode)
    rows = bytearray(noise(13, 11).convert(mode).tobytes())
    for row in range(11):
        rows.insert(row * (13 * channels + 1), row % 5)
    packed = rows if inside else bytearray(zlib.compress(bytes(rows), level))
    for at, value in changes:
        packed[int(at * len(packed))] = value
    data = zlib.compress(bytes(packed), level) if inside else bytes(packed)
    colour = {"L": 0, "LA": 4, "RGB": 2, "RGBA": 6}[mode]
    body = picture(head(13, 11, colour), chunk(b"IDAT", data))
    assert not is_sound(body) or loads(body)
    assert is_sound(body) or changes


def loads(body: bytes) -> bool:
    """Whether Pillow verifies and decodes it."""
    with Image.open(io.BytesIO(body), formats=["PNG"]) as picture:
        picture.verify()
    with Image.open(io.BytesIO(body), formats=["PNG"]) as picture:
        picture.load()
    return True
