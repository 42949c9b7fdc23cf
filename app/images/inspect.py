"""Says whether bytes are a picture that we store, whole and unharmed, and how large it is as displayed.

    body ─▶ container walked ─▶ pixel and frame caps ─▶ nothing hides behind the end
         ─▶ a PNG of the usual kind, inflated: sound? ─ yes ─────────────────────┐
             └ no ─▶ without its metadata ─▶ a JPEG that is not plain: still the same picture?
                  ─▶ Pillow: load (a PNG: verify, reopen, load) ─▶ PictureFacts

The bytes themselves are stored as they came, metadata and all.

By content, never by name. Bytes that end early are transient, bytes that are whole and wrong are refused. A picture
whose decoding would take more than DECODE_BUDGET_BYTES is judged by its container and headers alone, so that inspection
costs a bounded amount of memory: measured, a 30-megapixel WebP takes 460 MB to load (docs/decisions/0004).
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image, WebPImagePlugin  # noqa: F401  for the same reason as `preinit` below, which leaves it out

from app.errors import OriginUnavailable, PictureRefused, TransientError
from app.images.containers import JPEG_START, CutShort, Layout, plain_jpeg, read_layout
from app.images.orientation import read_orientation
from app.images.parts import find_exif, picture_parts, without_metadata
from app.images.png_data import check_png_data, check_png_metadata, is_sound
from app.images.processors import Processors
from app.scarce import SHORT_OF, lacks_memory, shortage

MAX_FRAMES = 500
DECODE_BUDGET_BYTES = 96 * 1024 * 1024
HEAVY_BYTES = 24 * 1024 * 1024
"""From here on pictures are decoded one at a time."""
SMALL_BYTES, SMALL_PIXELS = 16 * 1024, 128 * 1024
"""Up to here a plain JPEG is looked at on the spot: a third of a millisecond."""
USUAL_BYTES, USUAL_PIXELS = 256 * 1024, 4 * 1024 * 1024
"""The same where processors are short: 2 to 3 ms, up to 14 for what was made to take long."""
INSPECTOR_THREADS = 2
TURNED_ORIENTATIONS = frozenset({5, 6, 7, 8})
CONTENT_TYPES = {
    "JPEG": ("image/jpeg", "jpg"),
    "PNG": ("image/png", "png"),
    "WEBP": ("image/webp", "webp"),
    "GIF": ("image/gif", "gif"),
}
FOREIGN_MARKS = (b"<html", b"<script", b"<svg", b"<?php", b"<!doctype", b"pk\x03\x04", b"pk\x05\x06", b"%pdf-", b"rar!")
"""In lower case; what a browser or an archiver would find behind a picture's end."""
PROGRAM_MARKS = (b"mz", b"\x7felf", b"#!/")

# Once, here: filters are not safe to change in threads.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.simplefilter("error", Image.DecompressionBombWarning)

# Now, not with the first picture: a process that can open no more files must not take that for the picture's fault.
Image.preinit()


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What is recorded of a picture; `width` and `height` in pixels as displayed, with EXIF orientation applied."""

    content_type: str
    extension: str
    """Without a dot: `jpg`, `png`, `webp`, `gif`."""
    width: int
    height: int


class Inspected(NamedTuple):
    """A picture that may be stored."""

    facts: PictureFacts
    sha256: str
    """Of its bytes, in hex."""


class PictureInspector:
    """Inspects on a small pool of threads, so that neither the event loop nor memory suffers. One a process.

    Handing over to a thread is a tenth of what a picture costs an image worker. So a small one is looked at on the
    spot, and a usual one where other processes have the processors that the thread would run on (decision 0041).
    """

    def __init__(self, *, max_pixels: int, processors: Processors | None = None) -> None:
        self._max_pixels = max_pixels
        self.processors = processors or Processors()
        self._pool = ThreadPoolExecutor(INSPECTOR_THREADS, thread_name_prefix="inspect")
        self._heavy_turn = asyncio.Lock()

    async def inspect(self, body: bytes) -> Inspected:
        """As `inspect_picture`, without stalling the event loop for more than some ms.

        Large pictures wait for each other.
        """
        short = self.processors.are_short()
        most_bytes, most_pixels = (USUAL_BYTES, USUAL_PIXELS) if short else (SMALL_BYTES, SMALL_PIXELS)
        layout = plain_jpeg(body) if len(body) <= most_bytes and body.startswith(JPEG_START) else None
        if layout is not None and layout.width * layout.height <= most_pixels:
            _check_limits(body, layout, self._max_pixels)
            return _examined(body, layout)
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._pool, _unless_heavy, body, self._max_pixels)
        if isinstance(found, Inspected):
            return found
        async with self._heavy_turn:
            return await loop.run_in_executor(self._pool, _examined, body, found)

    def close(self) -> None:
        """Give the threads back."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _unless_heavy(body: bytes, max_pixels: int) -> Inspected | Layout:
    """The whole look, or only the container where the rest has to wait for its turn."""
    layout = check_container(body, max_pixels)
    return layout if _decoded_bytes(layout) >= HEAVY_BYTES else _examined(body, layout)


def _examined(body: bytes, layout: Layout) -> Inspected:
    return Inspected(_examine(body, layout), hashlib.sha256(body).hexdigest())


def inspect_picture(body: bytes, *, max_pixels: int) -> PictureFacts:
    """Judge the bytes. Takes up to a second for a large picture: run it in a thread.

    Raises:
        OriginUnavailable: the picture ends early; asking again may bring all of it.
        PictureRefused: it is whole and wrong; `kind` is `picture-` and what is wrong.
    """
    return _examine(body, check_container(body, max_pixels))


def check_container(body: bytes, max_pixels: int) -> Layout:
    """Everything that can be said without decoding.

    Raises:
        OriginUnavailable: the picture ends early.
        PictureRefused: as `inspect_picture`.
    """
    if not body:
        raise PictureRefused("there is nothing in it", kind="picture-empty")
    try:
        layout = read_layout(body)
    except CutShort:
        raise OriginUnavailable(f"the picture ended early, after {len(body)} bytes") from None
    if layout is None:
        raise _refuse_stranger(body)
    _check_limits(body, layout, max_pixels)
    return layout


def _check_limits(body: bytes, layout: Layout, max_pixels: int) -> None:
    _check_caps(layout, max_pixels)
    _check_tail(body, layout.end)


def _check_caps(layout: Layout, max_pixels: int) -> None:
    pixels = layout.width * layout.height
    if pixels == 0:
        raise PictureRefused("the picture has no pixels", kind="picture-damaged")
    if pixels > max_pixels:
        raise PictureRefused(
            f"{layout.width} x {layout.height} is over {max_pixels} pixels", kind="picture-too-many-pixels"
        )
    if layout.frames > MAX_FRAMES:
        raise PictureRefused(f"{layout.frames} frames are over {MAX_FRAMES}", kind="picture-too-many-frames")


def _check_tail(body: bytes, end: int) -> None:
    """Padding and a camera's trailer are normal; a document, archive or program is not."""
    tail = body[end:].lstrip(b"\0\r\n\t \xff").lower()
    if tail.startswith(PROGRAM_MARKS) or any(mark in tail for mark in FOREIGN_MARKS):
        raise PictureRefused("something else is hidden behind the picture", kind="picture-polyglot")


def _refuse_stranger(body: bytes) -> PictureRefused:
    head = body[:4096].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if b"<svg" in head or b"<!doctype svg" in head:
        return PictureRefused("SVG is not stored: it can hold scripts", kind="picture-svg")
    if b"<html" in head or b"<!doctype html" in head or head.startswith(b"<"):
        return PictureRefused("a web page instead of a picture", kind="picture-html")
    return PictureRefused("not a JPEG, PNG, WebP or GIF", kind="picture-unknown-type")


def _decoded_bytes(layout: Layout) -> float:
    return layout.width * layout.height * layout.decoded_bytes_per_pixel


def _examine(body: bytes, layout: Layout) -> PictureFacts:
    fits, is_png = _decoded_bytes(layout) <= DECODE_BUDGET_BYTES, layout.pillow_format == "PNG"
    if not (is_png and fits and is_sound(body)):
        _decode(body, layout, whole=fits)
    if is_png:
        check_png_metadata(body)
        if not fits:
            check_png_data(body)
    content_type, extension = CONTENT_TYPES[layout.pillow_format]
    turned = read_orientation(find_exif(body, layout)) in TURNED_ORIENTATIONS  # what XMP says is not what browsers show
    width, height = (layout.height, layout.width) if turned else (layout.width, layout.height)
    return PictureFacts(content_type, extension, width, height)


def _decode(body: bytes, layout: Layout, *, whole: bool) -> None:
    pixels = without_metadata(body, layout)
    if layout.pillow_format == "JPEG" and not layout.plain:
        _check_same(pixels.getvalue(), layout)
    try:
        if layout.pillow_format == "PNG":  # of the four formats the one that Pillow has something to verify in
            with Image.open(pixels, formats=["PNG"]) as picture:
                picture.verify()
            pixels.seek(0)
        with Image.open(pixels, formats=[layout.pillow_format]) as picture:
            picture.draft(None, (1, 1))  # the whole JPEG is decoded, its pixels are not kept
            if whole:
                picture.load()
    except Exception as error:
        lacking = shortage(error)
        if lacking is None and lacks_memory(_decoded_bytes(layout)):  # libwebp and libjpeg call the picture broken then
            lacking = SHORT_OF[errno.ENOMEM]
        if lacking is not None:  # which is no word about the picture
            raise TransientError(f"this worker ran short of {lacking}") from error
        raise PictureRefused(f"the picture cannot be decoded: {error}"[:200], kind="picture-damaged") from None


def _check_same(left: bytes, layout: Layout) -> None:
    """Bytes around what was left out may form a segment: metadata, or one that hides the picture which was checked.

    Raises:
        PictureRefused: they do.
    """
    try:
        found = read_layout(left)
    except CutShort:
        found = None
    metadata = found is not None and any(part.is_metadata for part in picture_parts(left, "JPEG"))
    if found is None or metadata or _size_of(found) != _size_of(layout):
        raise PictureRefused("without its metadata it is another picture", kind="picture-damaged")


def _size_of(layout: Layout) -> tuple[int, int, float]:
    return layout.width, layout.height, layout.decoded_bytes_per_pixel
