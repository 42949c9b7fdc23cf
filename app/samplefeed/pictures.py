"""Pictures: real encoded images, told from their address alone, so that a feed of any size keeps no list of them.

    content key -> 24 hex digits -> + 8 for the copy -> + 8 to check = the address's 40 digits
    address     -> the 24 digits -> one of a few base images, made unique by a comment that holds the digits

Two addresses with the same first 24 digits are the same bytes at two places (a copy). What the check does not fit
is a 404. The base images are encoded when first asked for.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zlib
from functools import lru_cache

from PIL import Image, ImageDraw

from app.samplefeed.seeded import digest, stream

PICTURES_AT = "sample-pictures:"
"""What stands for scheme and host in stored documents, until it is known where the pictures are served."""

BASE_IMAGES = 12
SIZING_ROUNDS = 3
"""Bytes do not grow evenly with pixels, so a wanted size is come to in steps."""
CONTENT_DIGITS = 24
CHECKED_DIGITS = 32
ADDRESS = re.compile(r"^/Images/LiveR2/[0-9a-f-]{36}/([0-9a-f]{40})\.(jpg|png)$")
CONTENT_TYPES = {"jpg": "image/jpeg", "png": "image/png"}


def picture_path(seed: int, supplier: str, key: str, copy: int = 0) -> str:
    """The path of a supplier's picture; another `copy` is the same picture at another address."""
    content = digest(seed, supplier, "picture", key)[:CONTENT_DIGITS]
    checked = content + digest(seed, content, "copy", copy)[: CHECKED_DIGITS - CONTENT_DIGITS]
    name = f"{checked}{_check(seed, checked)}"
    return f"/Images/LiveR2/{supplier_guid(seed, supplier)}/{name}.{_extension(content)}"


def supplier_guid(seed: int, supplier: str) -> str:
    """The guid that a supplier's pictures stand under."""
    hexes = digest(seed, supplier, "guid")
    return f"{hexes[:8]}-{hexes[8:12]}-4{hexes[13:16]}-8{hexes[17:20]}-{hexes[20:32]}"


def picture_bytes(seed: int, path: str, *, small: bool, wanted_bytes: int | None = None) -> bytes | None:
    """The picture behind a path, or None where the feed has none; about `wanted_bytes` large where they are given."""
    match = ADDRESS.match(path)
    if match is None:
        return None
    name, extension = match.groups()
    content = name[:CONTENT_DIGITS]
    if name[CHECKED_DIGITS:] != _check(seed, name[:CHECKED_DIGITS]) or extension != _extension(content):
        return None
    base = _base_image(seed, int(content[2:6], 16) % BASE_IMAGES, extension, small=small, wanted_bytes=wanted_bytes)
    return _with_comment(base, extension, content.encode())


def _check(seed: int, checked: str) -> str:
    return digest(seed, checked, "check")[: 40 - CHECKED_DIGITS]


def _extension(content: str) -> str:
    return "png" if int(content[:2], 16) % 10 == 0 else "jpg"


def _with_comment(base: bytes, extension: str, comment: bytes) -> bytes:
    if extension == "jpg":
        # JFIF wants its own segment right after the start, so the comment goes behind that one.
        after_jfif = 4 + struct.unpack(">H", base[4:6])[0]
        segment = b"\xff\xfe" + struct.pack(">H", 2 + len(comment)) + comment
        return base[:after_jfif] + segment + base[after_jfif:]
    chunk = b"tEXtComment\x00" + comment
    after_header = 33
    whole = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return base[:after_header] + whole + base[after_header:]


@lru_cache(maxsize=256)
def _base_image(seed: int, index: int, extension: str, *, small: bool, wanted_bytes: int | None) -> bytes:
    dice = stream(seed, "base image", index, extension)
    size = (dice.randint(64, 96), dice.randint(64, 96)) if small else (dice.randint(800, 1200), dice.randint(800, 1200))
    choices, quality, grain = dice.randbytes(64), dice.randint(72, 84), seed + index
    encoded = _encoded(choices, size, extension, quality, grain)
    for _ in range(SIZING_ROUNDS if wanted_bytes is not None else 0):
        share = math.sqrt((wanted_bytes or 0) / len(encoded))
        size = max(1, round(size[0] * share)), max(1, round(size[1] * share))
        encoded = _encoded(choices, size, extension, quality, grain)
    return encoded


def _encoded(choices: bytes, size: tuple[int, int], extension: str, quality: int, grain: int) -> bytes:
    picture = _grained(_drawn(choices, size), grain, sigma=6 if extension == "jpg" else 0)
    out = io.BytesIO()
    if extension == "jpg":
        picture.save(out, "JPEG", quality=quality)
    else:
        picture.save(out, "PNG")
    return out.getvalue()


def _drawn(choices: bytes, size: tuple[int, int]) -> Image.Image:
    """Coloured shapes on a gradient; `choices` decides which."""
    gradient = Image.linear_gradient("L").resize(size)
    picture = Image.merge("RGB", (gradient, gradient.transpose(Image.Transpose.ROTATE_180), gradient))
    draw = ImageDraw.Draw(picture)
    for at in range(0, len(choices) - 7, 7):
        left, top, wide, high, *colour = choices[at : at + 7]
        box = (
            left * size[0] // 320,
            top * size[1] // 320,
            (left + wide) * size[0] // 400,
            (top + high) * size[1] // 400,
        )
        if box[2] > box[0] and box[3] > box[1]:
            draw.ellipse(box, fill=(colour[0], colour[1], colour[2]))
    return picture


def _grained(picture: Image.Image, seed: int, sigma: int) -> Image.Image:
    """With a photograph's grain, which is what gives a JPEG its weight; the same for the same seed."""
    if not sigma:
        return picture.resize((max(1, picture.width // 2), max(1, picture.height // 2))).resize(
            picture.size, Image.Resampling.BICUBIC
        )
    tile = Image.frombytes("L", (256, 256), stream("grain", seed).randbytes(256 * 256))
    grain = Image.new("L", picture.size)
    for left in range(0, picture.width, 256):
        for top in range(0, picture.height, 256):
            grain.paste(tile, (left, top))
    return Image.blend(picture, Image.merge("RGB", (grain, grain, grain)), sigma / 100)
