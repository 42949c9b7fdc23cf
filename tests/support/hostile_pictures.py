"""Pictures that want to do harm, and odd ones that are good, made by script, each with the verdict it should get.

Run `python -m tests.support.hostile_pictures FOLDER` to have them as files.
"""

from __future__ import annotations

import functools
import gzip
import io
import random
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

MAX_PIXELS = 50_000_000
EARLY = "ended-early"
"""The verdict of bytes that end before the picture does: transient."""


@dataclass(frozen=True)
class Good:
    """Passes, with these facts."""

    content_type: str
    width: int
    height: int


@dataclass(frozen=True)
class HostilePicture:
    """`verdict` is Good, EARLY, or the `kind` of the refusal."""

    name: str
    body: bytes
    verdict: Good | str


MAKERS: list[tuple[str, Good | str, Callable[[], bytes]]] = []


def hostile_pictures() -> Iterator[HostilePicture]:
    """All of them, made one after the other so that they need not fit into memory together."""
    for name, verdict, make in MAKERS:
        yield HostilePicture(name, make(), verdict)


def _case(name: str, verdict: Good | str) -> Callable[[Callable[[], bytes]], Callable[[], bytes]]:
    def add(make: Callable[[], bytes]) -> Callable[[], bytes]:
        MAKERS.append((name, verdict, make))
        return make

    return add


@functools.cache
def noise(width: int = 300, height: int = 100) -> Image.Image:
    return Image.frombytes("RGB", (width, height), random.Random(width).randbytes(width * height * 3))


def saved(picture: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, data: bytes, *extra: bytes, colour: int = 0, depth: int = 8) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def gif(width: int, height: int, *frames: bytes, end: bytes = b";") -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + b"".join(frames) + end


def gif_frame(width: int, height: int) -> bytes:
    return b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\x00"


def webp_vp8x(width: int, height: int, *chunks: bytes) -> bytes:
    canvas = b"\x02\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + canvas + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def with_exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def jpeg_sized(body: bytes, width: int, height: int) -> bytes:
    """The JPEG with other numbers in its frame header."""
    at = body.index(b"\xff\xc0") + 5
    return body[:at] + struct.pack(">HH", height, width) + body[at + 4 :]


FORMS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
for _form, _type in FORMS.items():
    _case(f"good-{_form}", Good(_type, 300, 100))(functools.partial(lambda form: saved(noise(), form), _form))
    for _part in (1, 2, 3):
        _case(f"truncated-{_form}-{_part}", EARLY)(
            functools.partial(lambda form, part: saved(noise(), form)[: -(2 * part * part * part)], _form, _part)
        )
    _case(f"half-{_form}", EARLY)(
        functools.partial(lambda form: saved(noise(), form)[: len(saved(noise(), form)) // 2], _form)
    )
    _case(f"zip-behind-{_form}", "picture-polyglot")(
        functools.partial(lambda form: saved(noise(), form) + b"PK\x03\x04" + bytes(100) + b"PK\x05\x06", _form)
    )


@_case("bomb-jpeg", "picture-too-many-pixels")
def bomb_jpeg() -> bytes:
    return jpeg_sized(saved(noise(), "JPEG"), 65_000, 65_000)


@_case("bomb-jpeg-scans", "picture-bomb")
def bomb_jpeg_scans() -> bytes:
    body = saved(Image.new("RGB", (6_000, 6_000)), "JPEG", progressive=True)
    at = body.rindex(b"\xff\xda")
    return body[:at] + body[at:-2] * 200 + b"\xff\xd9"


@_case("progressive-jpeg-with-large-coefficients", Good("image/jpeg", 7_000, 7_000))
def large_progressive() -> bytes:
    return saved(Image.new("RGB", (7_000, 7_000), "red"), "JPEG", progressive=True, subsampling=0)


@_case("bomb-png", "picture-too-many-pixels")
def bomb_png() -> bytes:
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(9_001)) for _ in range(9_000)) + packer.flush()
    return png(9_000, 9_000, data)


@_case("bomb-png-text", "picture-damaged")
def bomb_png_text() -> bytes:
    """A compressed comment that would open to 200 MB."""
    packer = zlib.compressobj(9)
    text = b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    return png(1, 1, zlib.compress(b"\0\0"))[:-12] + chunk(b"zTXt", b"Comment\0\0" + text) + chunk(b"IEND", b"")


@_case("bomb-png-profile", "picture-damaged")
def bomb_png_profile() -> bytes:
    packer = zlib.compressobj(9)
    profile = b"".join(packer.compress(bytes(1 << 20)) for _ in range(100)) + packer.flush()
    return png(1, 1, zlib.compress(b"\0\0"), chunk(b"iCCP", b"x\0\0" + profile))


@_case("bomb-png-data", Good("image/png", 10, 10))
def bomb_png_data() -> bytes:
    """Ten rows of pixels, then 100 MB of zeros in the same stream: decoders stop after the rows."""
    packer = zlib.compressobj(9)
    data = packer.compress(bytes(110)) + b"".join(packer.compress(bytes(1 << 20)) for _ in range(100)) + packer.flush()
    return png(10, 10, data)


@_case("large-png-just-within", Good("image/png", 7_000, 7_000))
def large_png() -> bytes:
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(7_001)) for _ in range(7_000)) + packer.flush()
    return png(7_000, 7_000, data)


@_case("bomb-webp", "picture-too-many-pixels")
def bomb_webp() -> bytes:
    return webp_vp8x(16_384, 16_384, saved(noise(), "WEBP")[12:])


@_case("large-webp-just-within", Good("image/webp", 7_000, 7_000))
def large_webp() -> bytes:
    return saved(Image.new("RGB", (7_000, 7_000), "red"), "WEBP", quality=1, method=0)


@_case("heaviest-webp-that-is-decoded", Good("image/webp", 2_400, 2_400))
def heaviest_webp() -> bytes:
    return saved(noise(600, 600).resize((2_400, 2_400)), "WEBP", quality=50, method=0)


@_case("heaviest-jpeg-that-is-decoded", Good("image/jpeg", 3_700, 3_700))
def heaviest_jpeg() -> bytes:
    return saved(noise(600, 600).resize((3_700, 3_700)), "JPEG", progressive=True, subsampling=0)


@_case("heaviest-png-that-is-decoded", Good("image/png", 5_000, 5_000))
def heaviest_png() -> bytes:
    return saved(noise(600, 600).convert("P").resize((5_000, 5_000)).convert("RGB"), "PNG", compress_level=1)


@_case("bomb-gif", "picture-too-many-pixels")
def bomb_gif() -> bytes:
    return gif(65_000, 65_000, gif_frame(1, 1))


@_case("bomb-gif-frame", "picture-damaged")
def bomb_gif_frame() -> bytes:
    """A small screen with one frame of four billion pixels."""
    return gif(10, 10, gif_frame(65_000, 65_000))


@_case("endless-gif", "picture-too-many-frames")
def endless_gif() -> bytes:
    return gif(1, 1, *[gif_frame(1, 1)] * 200_000)


@_case("endless-webp", "picture-too-many-frames")
def endless_webp() -> bytes:
    return webp_vp8x(10, 10, *[b"ANMF" + struct.pack("<I", 16) + bytes(16)] * 20_000)


@_case("endless-png", "picture-too-many-frames")
def endless_png() -> bytes:
    return png(1, 1, zlib.compress(b"\0\0"), chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)))


@_case("looping-gif", Good("image/gif", 300, 100))
def looping_gif() -> bytes:
    return saved(noise(), "GIF", save_all=True, append_images=[noise().rotate(180)], loop=0)


@_case("png-wrong-checksum", "picture-checksum")
def png_checksum() -> bytes:
    body = bytearray(saved(noise(), "PNG"))
    body[len(body) // 2] ^= 1
    return bytes(body)


@_case("png-damaged-data", "picture-damaged")
def png_damaged() -> bytes:
    data = bytearray(zlib.compress(random.Random(1).randbytes(10_100)))
    data[5_000:5_010] = b"\xff" * 10
    return png(100, 100, bytes(data))


@_case("png-lying-header", "picture-damaged")
def png_lying() -> bytes:
    return png(1_000, 1_000, zlib.compress(bytes(110)))


@_case("large-png-lying-header", "picture-damaged")
def large_png_lying() -> bytes:
    return png(6_000, 6_000, zlib.compress(bytes(110)))


@_case("png-without-data", "picture-damaged")
def png_empty() -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 5, 8, 0, 0, 0, 0)) + chunk(b"IEND", b"")


@_case("png-without-width", "picture-damaged")
def png_flat() -> bytes:
    return png(0, 10, zlib.compress(b""))


@_case("jpeg-without-picture", "picture-damaged")
def jpeg_empty() -> bytes:
    return b"\xff\xd8\xff\xe0\x00\x04ab\xff\xd9"


@_case("jpeg-damaged-tables", "picture-damaged")
def jpeg_damaged() -> bytes:
    body = bytearray(saved(noise(), "JPEG"))
    at = body.index(b"\xff\xc4")
    body[at + 4 : at + 40] = b"\xee" * 36
    return bytes(body)


@_case("webp-damaged", "picture-damaged")
def webp_damaged() -> bytes:
    body = bytearray(saved(noise(), "WEBP"))
    body[30:60] = b"\xee" * 30
    return bytes(body)


@_case("gif-damaged", "picture-damaged")
def gif_damaged() -> bytes:
    return gif(10, 10, b"\x99nonsense")


@_case("html", "picture-html")
def html() -> bytes:
    return b"\xef\xbb\xbf\n<!DOCTYPE html><html><body>Please log in</body></html>"


@_case("svg", "picture-svg")
def svg() -> bytes:
    return b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@_case("svg-with-entities", "picture-svg")
def svg_entities() -> bytes:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    return f'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY e0 "x">{entities}]><svg>&e9;</svg>'.encode()


@_case("svg-compressed", "picture-unknown-type")
def svgz() -> bytes:
    return gzip.compress(svg())


@_case("script-behind-gif", "picture-polyglot")
def gif_script() -> bytes:
    return saved(noise(), "GIF") + b"/*<script>alert(1)</script>*/"


@_case("page-behind-png", "picture-polyglot")
def png_page() -> bytes:
    return saved(noise(), "PNG") + b"\n<HTML><body onload=x()>"


@_case("program-behind-jpeg", "picture-polyglot")
def jpeg_program() -> bytes:
    return saved(noise(), "JPEG") + b"MZ" + bytes(500)


@_case("bmp", "picture-unknown-type")
def bmp() -> bytes:
    return saved(noise(), "BMP")


@_case("tiff", "picture-unknown-type")
def tiff() -> bytes:
    return saved(noise(), "TIFF")


@_case("postscript", "picture-unknown-type")
def postscript() -> bytes:
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(%pipe%id) (w) file\n"


@_case("wave-sound", "picture-unknown-type")
def wave() -> bytes:
    return b"RIFF" + struct.pack("<I", 100) + b"WAVEfmt " + bytes(88)


@_case("zero-bytes", "picture-empty")
def nothing() -> bytes:
    return b""


@_case("zeros", "picture-unknown-type")
def zeros() -> bytes:
    return bytes(1_000_000)


@_case("hundred-megabytes", "picture-unknown-type")
def hundred_megabytes() -> bytes:
    return b"\xff\xfe" + bytes(100_000_000)


@_case("jpeg-of-markers-alone", EARLY)
def jpeg_markers() -> bytes:
    return b"\xff\xd8" + b"\xff\xd0" * 1_000_000


@_case("jpeg-of-empty-comments", Good("image/jpeg", 300, 100))
def jpeg_of_empty_comments() -> bytes:
    """Half a second of walking, in a quarter of a megabyte."""
    return saved(noise(), "JPEG").replace(b"\xff\xc0", b"\xff\xfe\x00\x02" * 55_000 + b"\xff\xc0", 1)


@_case("jpeg-hidden-by-what-metadata-leaves", "picture-damaged")
def jpeg_hidden_by_what_metadata_leaves() -> bytes:
    """A 0xFF before metadata becomes a comment with what stands behind it, and hides the frame of 16 x 16."""
    real = saved(noise(200, 200), "JPEG", progressive=True)
    decoy = b"\xff\xc0\x00\x11\x08\x00\x10\x00\x10\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    hidden = b"\xfe" + struct.pack(">H", len(decoy) + 2) + decoy
    return real[:2] + b"\xff" + b"\xff\xe1\x00\x02" + hidden + real[2:]


@_case("gif-of-tiny-blocks", EARLY)
def gif_blocks() -> bytes:
    return gif(10, 10, b"!\xfe" + b"\x01x" * 2_000_000, end=b"")


@_case("cmyk", Good("image/jpeg", 300, 100))
def cmyk() -> bytes:
    return saved(noise().convert("CMYK"), "JPEG")


@_case("sixteen-bit", Good("image/png", 300, 100))
def sixteen_bit() -> bytes:
    return saved(noise().convert("I;16"), "PNG")


@_case("sixteen-bit-colour", Good("image/png", 10, 10))
def sixteen_bit_colour() -> bytes:
    return png(10, 10, zlib.compress(bytes(10 * 61)), colour=2, depth=16)


@_case("palette-with-transparency", Good("image/png", 300, 100))
def palette() -> bytes:
    return saved(noise().convert("P"), "PNG", transparency=0)


@_case("padded-jpeg", Good("image/jpeg", 300, 100))
def padded() -> bytes:
    return saved(noise(), "JPEG") + bytes(100) + b"\r\n"


@_case("two-pictures-in-one-jpeg", Good("image/jpeg", 300, 100))
def two_pictures() -> bytes:
    return saved(noise(), "MPO", save_all=True, append_images=[noise()])


@_case("thumbnail-in-a-jpeg", Good("image/jpeg", 300, 100))
def thumbnail() -> bytes:
    """The small picture inside a segment has markers and an end of its own."""
    small, body = saved(noise(30, 10), "JPEG"), saved(noise(), "JPEG")
    return body[:2] + b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small + body[2:]


for _orientation in range(10):
    _turned = 5 <= _orientation <= 8
    _case(f"orientation-{_orientation}", Good("image/jpeg", *((100, 300) if _turned else (300, 100))))(
        functools.partial(lambda turn: saved(noise(), "JPEG", exif=with_exif(turn)), _orientation)
    )


@_case("turned-cmyk", Good("image/jpeg", 100, 300))
def turned_cmyk() -> bytes:
    return saved(noise().convert("CMYK"), "JPEG", exif=with_exif(6))


@_case("turned-png", Good("image/png", 100, 300))
def turned_png() -> bytes:
    return saved(noise().convert("I;16"), "PNG", exif=with_exif(6))


@_case("turned-webp", Good("image/webp", 100, 300))
def turned_webp() -> bytes:
    return saved(noise(), "WEBP", exif=with_exif(8))


@_case("broken-exif", Good("image/jpeg", 300, 100))
def broken_exif() -> bytes:
    return saved(noise(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\x12\x01\x03\0")


@_case("exif-of-nonsense", Good("image/jpeg", 300, 100))
def nonsense_exif() -> bytes:
    return saved(noise(), "JPEG", exif=b"Exif\0\0" + bytes(range(200)))


@_case("exif-that-points-at-itself", Good("image/jpeg", 300, 100))
def circular_exif() -> bytes:
    return saved(noise(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0")


WORDS = random.Random(6).randbytes(2 << 20)
"""Two megabytes that do not compress, more than Pillow opens of any text or profile."""


def packed(mebibytes: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(mebibytes)) + packer.flush()


PNG_METADATA = {
    "text": chunk(b"tEXt", b"Comment\0" + WORDS.hex().encode()),
    "many-texts": chunk(b"tEXt", b"Comment\0" + b"x" * 400) * 5_000,
    "packed-text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(WORDS)),
    "packed-text-of-20-mb": chunk(b"zTXt", b"Comment\0\0" + packed(20)),
    "packed-text-of-unknown-method": chunk(b"zTXt", b"Comment\0\7" + WORDS),
    "damaged-text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(WORDS)[:1000]),
    "xmp": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + WORDS.hex().encode()),
    "packed-xmp": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0\0" + zlib.compress(WORDS)),
    "profile": chunk(b"iCCP", b"x\0\0" + zlib.compress(WORDS)),
    "profile-of-unknown-method": chunk(b"iCCP", b"x\0\7" + WORDS),
    "profile-without-anything": chunk(b"iCCP", b""),
    "exif": chunk(b"eXIf", WORDS),
    "private": chunk(b"prVt", WORDS),
}
for _name, _chunk in PNG_METADATA.items():
    _pixels = zlib.compress(bytes(110))
    _case(f"png-{_name}", Good("image/png", 10, 10))(functools.partial(png, 10, 10, _pixels, _chunk))
    _case(f"png-{_name}-behind-the-data", Good("image/png", 10, 10))(
        functools.partial(lambda body, extra: body[:-12] + extra + body[-12:], png(10, 10, _pixels), _chunk)
    )


@_case("bomb-png-xmp", "picture-damaged")
def bomb_png_xmp() -> bytes:
    extra = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0\0" + packed(100))
    return png(10, 10, zlib.compress(bytes(110)), extra)


@_case("bomb-png-many-texts", "picture-damaged")
def bomb_png_texts() -> bytes:
    return png(10, 10, zlib.compress(bytes(110)), chunk(b"zTXt", b"Comment\0\0" + packed(1)) * 100)


def exif_bomb(mebibytes: int) -> bytes:
    """A directory whose entries each claim the whole block, the turn as the last."""
    size, entries = mebibytes << 20, 600
    heads = (struct.pack("<HHII", 0x8000 + number, 1, size - 8, 8) for number in range(entries - 1))
    turn = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    directory = struct.pack("<H", entries) + b"".join(heads) + turn
    return (b"II*\0\x08\0\0\0" + directory).ljust(size, b"\0")


def jpeg_segments(marker: bytes, mark: bytes, data: bytes) -> bytes:
    """The data in as many segments as it needs, each with the same mark."""
    pieces = (data[at : at + 60_000] for at in range(0, len(data), 60_000))
    return b"".join(b"\xff" + marker + struct.pack(">H", len(mark + piece) + 2) + mark + piece for piece in pieces)


def jpeg_with(extra: bytes) -> bytes:
    body = saved(noise(), "JPEG")
    return body[:2] + extra + body[2:]


def webp_with(flags: int, *chunks: tuple[bytes, bytes]) -> bytes:
    canvas = bytes([flags]) + b"\0\0\0" + (299).to_bytes(3, "little") + (99).to_bytes(3, "little")
    parts = b"WEBPVP8X" + struct.pack("<I", 10) + canvas + saved(noise(), "WEBP")[12:]
    parts += b"".join(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(parts)) + parts


def gif_with_comment(block: bytes, count: int) -> bytes:
    body = saved(noise(), "GIF")
    at = 13 + (3 << ((body[10] & 7) + 1))
    return body[:at] + b"!\xfe" + (bytes([len(block)]) + block) * count + b"\0" + body[at:]


@_case("jpeg-exif-bomb", Good("image/jpeg", 100, 300))
def jpeg_exif_bomb() -> bytes:
    return jpeg_with(jpeg_segments(b"\xe1", b"Exif\0\0", exif_bomb(1)))


@_case("jpeg-xmp-and-profile-and-comments", Good("image/jpeg", 300, 100))
def jpeg_metadata() -> bytes:
    xmp = jpeg_segments(b"\xe1", b"http://ns.adobe.com/xap/1.0/\0", WORDS)
    resources = jpeg_segments(b"\xed", b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\xff\xff\xff\xff", WORDS)
    profile = jpeg_segments(b"\xe2", b"ICC_PROFILE\0\1\1", WORDS)
    return jpeg_with(xmp + resources + profile + jpeg_segments(b"\xfe", b"", WORDS))


@_case("jpeg-turned-behind-its-xmp", Good("image/jpeg", 100, 300))
def jpeg_turned_late() -> bytes:
    xmp = jpeg_segments(b"\xe1", b"http://ns.adobe.com/xap/1.0/\0", WORDS)
    return jpeg_with(xmp + jpeg_segments(b"\xe1", b"Exif\0\0", b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\x08\0\0"))


@_case("webp-exif-bomb", Good("image/webp", 100, 300))
def webp_exif_bomb() -> bytes:
    return webp_with(0x08, (b"EXIF", exif_bomb(1)))


@_case("webp-profile-and-xmp", Good("image/webp", 300, 100))
def webp_metadata() -> bytes:
    return webp_with(0x24, (b"XMP ", WORDS), (b"prVt", WORDS))


@_case("webp-of-tiny-chunks", Good("image/webp", 300, 100))
def webp_chunks() -> bytes:
    return webp_with(0, *[(b"prVt", b"")] * 300_000)


@_case("webp-with-a-turn-that-it-does-not-announce", Good("image/webp", 300, 100))
def webp_unannounced() -> bytes:
    return webp_with(0, (b"EXIF", exif_bomb(1)))


@_case("gif-comment", Good("image/gif", 300, 100))
def gif_comment() -> bytes:
    return gif_with_comment(bytes(255), 20_000)


@_case("gif-comment-of-tiny-blocks", Good("image/gif", 300, 100))
def gif_comment_of_tiny_blocks() -> bytes:
    return gif_with_comment(b"xy", 1_000_000)


def main(folder: Path) -> None:
    """Write them all into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for hostile in hostile_pictures():
        (folder / hostile.name).write_bytes(hostile.body)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
