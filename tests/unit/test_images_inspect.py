"""Every hostile picture gets its verdict, and none takes the event loop or the memory with it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from app.errors import OriginUnavailable, PictureRefused
from app.images import inspect
from app.images.containers import MOST_PLAIN_SEGMENTS, _walk_any_jpeg, plain_jpeg, read_layout
from app.images.inspect import PictureInspector, check_container, inspect_picture
from app.images.parts import without_metadata
from app.images.png_data import check_png_data
from app.images.processors import Processors
from tests.support.hostile_pictures import (
    EARLY,
    FORMS,
    MAKERS,
    MAX_PIXELS,
    Good,
    jpeg_hidden_by_what_metadata_leaves,
    jpeg_of_empty_comments,
    noise,
    saved,
    with_exif,
)

# What Pillow warns of is printed and ignored outside of tests.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

MAX_STALL_S = 1.0
"""Ten times what a machine of its own shows, so that a busy one passes: the figure itself is for the bench."""
MAX_MEMORY_BYTES = 300 * 1024 * 1024


@pytest.mark.parametrize("case", MAKERS, ids=[name for name, _, _ in MAKERS])
def test_each_picture_gets_its_verdict(case: tuple[str, Good | str, object]) -> None:
    _, verdict, make = case
    body = make()  # type: ignore[operator]
    found: Good | str
    try:
        facts = inspect_picture(body, max_pixels=MAX_PIXELS)
        found = Good(facts.content_type, facts.width, facts.height)
    except OriginUnavailable:
        found = EARLY
    except PictureRefused as refused:
        found = refused.kind
    assert found == verdict


BOMB_NAMES = {
    "bomb-png-text", "bomb-png-profile", "bomb-png-xmp", "bomb-png-many-texts", "png-packed-text-of-20-mb",
    "jpeg-exif-bomb", "webp-exif-bomb", "webp-of-tiny-chunks", "gif-comment-of-tiny-blocks",
}  # fmt: skip
BOMBS_IN_METADATA = [case for case in MAKERS if case[0] in BOMB_NAMES]
METADATA_MAX_MEMORY_BYTES = 16 << 20


@pytest.mark.parametrize("case", BOMBS_IN_METADATA, ids=[name for name, _, _ in BOMBS_IN_METADATA])
def test_a_bomb_in_metadata_is_not_opened(case: tuple[str, Good | str, Callable[[], bytes]]) -> None:
    body = case[2]()
    tracemalloc.start()
    try:
        with contextlib.suppress(PictureRefused):
            inspect_picture(body, max_pixels=MAX_PIXELS)
        assert tracemalloc.get_traced_memory()[1] < METADATA_MAX_MEMORY_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", FORMS)
def test_what_is_decoded_is_the_picture_without_its_metadata(form: str) -> None:
    """Pixel for pixel, and with nothing of it left."""
    profile, exif = b"profile" * 9, with_exif(6)
    words = {"comment": b"words" * 99} if form == "GIF" else {"icc_profile": profile, "exif": exif}
    body = saved(noise(), form, **words)
    stripped = without_metadata(body, check_container(body, MAX_PIXELS)).read()
    for word in (b"Exif", b"eXIf", b"iCCP", b"ICCP", b"ICC_PROFILE", b"words"):
        assert word not in stripped
    with Image.open(io.BytesIO(body)) as before, Image.open(io.BytesIO(stripped)) as after:
        assert before.tobytes() == after.tobytes()


def test_there_are_enough_of_them() -> None:
    assert sum(not isinstance(verdict, Good) for _, verdict, _ in MAKERS) >= 25


@pytest.mark.parametrize("form", FORMS)
def test_wherever_a_picture_is_cut_it_ended_early(form: str) -> None:
    body = saved(noise(40, 30), form)
    for end in range(1, len(body)):
        with pytest.raises(OriginUnavailable):
            inspect_picture(body[:end], max_pixels=MAX_PIXELS)


@given(form=st.sampled_from(sorted(FORMS)), at=st.floats(0, 1), value=st.integers(0, 255))
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_a_changed_byte_never_gets_past_the_two_verdicts(form: str, at: float, value: int) -> None:
    body = bytearray(saved(noise(40, 30), form))
    body[int(at * (len(body) - 1))] = value
    with contextlib.suppress(OriginUnavailable, PictureRefused):
        facts = inspect_picture(bytes(body), max_pixels=MAX_PIXELS)
        assert facts.width * facts.height <= MAX_PIXELS


@pytest.mark.parametrize("options", [{}, {"bits": 1}, {"optimize": True}])
def test_png_data_of_real_pictures_agrees_with_their_header(options: dict[str, object]) -> None:
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"):
        check_png_data(saved(noise(301, 99).convert(mode), "PNG", **(options if mode == "P" else {})))


@pytest.mark.parametrize(
    ("old", "new", "plain", "a_pixel"),
    [
        (b"", b"", True, 0.3),
        (b"\xff\xc0", b"\xff\xc1", True, 0.3),
        (b"\xff\xc0", b"\xff\xc2", False, 7.0),
        (b"\xff\xc0", b"\xff\xc3", False, 7.0),
        (b"\xff\xc0", b"\xff\xc9", False, 0.3),
        (b"\xff\xda\x00\x0c\x03", b"\xff\xda\x00\x0c\x01", False, 7.0),
        (b"\xff\xc0", b"\xff\xff\xc0", False, 0.3),
        (b"\xff\xc0", b"x\xff\xc0", False, 0.3),
        (b"\xff\xc0", b"\xff\xfe\x00\x02" * MOST_PLAIN_SEGMENTS + b"\xff\xc0", False, 0.3),
        (b"\xff\xd9", b"\xff\xda\x00\x02\xff\xd9", False, 0.3),
        (b"\xff\xc0", b"\xff\xf0\x00\x06\xff\xe1\x00\x02\xff\xc0", False, 0.3),
        (b"\xff\xc0", (b"\xff\xdb\x00\x43" + bytes(65)) * 14 + b"\xff\xc0", False, 0.3),
        (b"\xff\xc0\x00\x11", b"\xff\xc0\x00\x12", False, 0.3),
    ],
    ids=[
        "baseline",
        "extended",
        "progressive",
        "lossless",
        "arithmetic",
        "a scan for each colour",
        "a byte between segments that may be there",
        "one that may not",
        "many segments",
        "one more scan",
        "a segment that Pillow reads as markers",
        "many tables",
        "a frame that is too long",
    ],
)
def test_a_plain_jpeg_has_few_segments_and_one_huffman_coded_scan(
    old: bytes, new: bytes, plain: bool, a_pixel: float
) -> None:
    body = saved(noise(), "JPEG")
    assert body.count(old) == 1 or not old
    body = body.replace(old, new)
    layout = read_layout(body)
    assert layout is not None
    assert layout.decoded_bytes_per_pixel == a_pixel
    assert layout.plain is plain
    assert plain_jpeg(body) == (layout if plain else None)


@pytest.mark.parametrize("at", range(0, 700, 7))
def test_whatever_is_cut_off_a_plain_jpeg_is_not_plain(at: int) -> None:
    assert plain_jpeg(saved(noise(16, 16), "JPEG")[:at]) is None


@given(at=st.integers(2, 1_000), value=st.integers(0, 255))
@settings(max_examples=500)
def test_what_is_said_of_a_plain_jpeg_is_what_walking_it_says(at: int, value: int) -> None:
    body = bytearray(saved(noise(16, 16), "JPEG"))
    body[at % len(body)] = value
    plain = plain_jpeg(bytes(body))
    if plain is not None:
        assert replace(plain, plain=False) == _walk_any_jpeg(bytes(body))


def test_no_segment_can_be_made_of_what_metadata_leaves_behind() -> None:
    body = jpeg_hidden_by_what_metadata_leaves()
    layout = check_container(body, MAX_PIXELS)
    assert (layout.width, layout.height) == (16, 16)
    with Image.open(without_metadata(body, layout)) as shown:
        assert shown.size == (200, 200)
    with pytest.raises(PictureRefused, match="another picture"):
        inspect_picture(body, max_pixels=MAX_PIXELS)


def test_no_metadata_can_be_made_of_what_metadata_leaves_behind() -> None:
    real = saved(noise(200, 200), "JPEG")
    body = real[:2] + b"\xff" + b"\xff\xfe\x00\x02" + b"\xe1\x00\x08Exif\x00\x00" + real[2:]
    check_container(body, MAX_PIXELS)
    with pytest.raises(PictureRefused, match="another picture"):
        inspect_picture(body, max_pixels=MAX_PIXELS)


class Short(Processors):
    """As where others have all of them."""

    def are_short(self) -> bool:
        return True


class Idle(Processors):
    """As where nobody has."""

    def are_short(self) -> bool:
        return False


USUAL, SMALL = noise(500, 500), noise(60, 60)


@pytest.mark.parametrize(
    ("processors", "body", "on_the_spot"),
    [
        (Short, saved(USUAL, "JPEG"), True),
        (Idle, saved(USUAL, "JPEG"), False),
        (Short, saved(USUAL, "JPEG", progressive=True), False),
        (Short, saved(noise(1200, 1200), "JPEG"), False),
        (Short, saved(Image.new("RGB", (2100, 2100)), "JPEG"), False),
        (Short, saved(SMALL, "PNG"), False),
        (Idle, saved(SMALL, "JPEG"), True),
        (Idle, saved(SMALL, "JPEG", progressive=True), False),
        (Short, jpeg_of_empty_comments(), False),
    ],
    ids=[
        "usual",
        "usual, processors to spare",
        "usual, progressive",
        "many bytes",
        "many pixels",
        "a small PNG",
        "small",
        "small, progressive",
        "of comments",
    ],
)
async def test_what_is_looked_at_on_the_spot(
    processors: type[Processors], body: bytes, on_the_spot: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at_by: list[int] = []
    examined = inspect._examined

    def note(*args: object) -> object:
        looked_at_by.append(threading.get_ident())
        return examined(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(inspect, "_examined", note)
    inspector = PictureInspector(max_pixels=MAX_PIXELS, processors=processors())
    try:
        found = await inspector.inspect(body)
    finally:
        inspector.close()
    assert found.facts == inspect_picture(body, max_pixels=MAX_PIXELS)
    (thread,) = looked_at_by
    assert (thread == threading.get_ident()) is on_the_spot


MEASURE = """
import asyncio, json, sys, time
from pathlib import Path
from app.errors import PromidataSyncError
from app.images.inspect import PictureInspector
from app.images.processors import Processors

class Always(Processors):
    def are_short(self):
        return sys.argv[2] == "short"

async def main(folder):
    inspector, worst, done = PictureInspector(max_pixels=50_000_000, processors=Always()), 0.0, asyncio.Event()
    slots = asyncio.Semaphore(10)

    async def tick():
        nonlocal worst
        while not done.is_set():
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            worst = max(worst, time.perf_counter() - before - 0.005)

    async def one(path):
        async with slots:
            body = await asyncio.to_thread(path.read_bytes)
            try:
                await inspector.inspect(body)
            except PromidataSyncError:
                pass

    ticker = asyncio.create_task(tick())
    async with asyncio.TaskGroup() as group:
        for path in sorted(folder.iterdir()) * 2:
            group.create_task(one(path))
    done.set()
    await ticker
    inspector.close()
    lines = Path("/proc/self/status").read_text().splitlines()  # getrusage would give the parent's peak
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    print(json.dumps({"stall_s": worst, "peak_bytes": peak}))

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.chaos  # measures stalls, so it wants the machine for itself
@pytest.mark.parametrize("processors", ["to spare", "short"])
async def test_ten_at_a_time_they_neither_stall_the_event_loop_nor_fill_the_memory(
    tmp_path: Path, processors: str
) -> None:
    for name, _, make in MAKERS:
        if name != "hundred-megabytes":  # the byte cap of the download stops it long before
            (tmp_path / name).write_bytes(await asyncio.to_thread(make))
    measured = [await asyncio.to_thread(_measure, tmp_path, processors) for _ in range(2)]
    assert max(round_["peak_bytes"] for round_ in measured) < MAX_MEMORY_BYTES
    # The better of two rounds: other processes of a busy machine stall the loop, too.
    assert min(round_["stall_s"] for round_ in measured) < MAX_STALL_S


def _measure(folder: Path, processors: str) -> dict[str, float]:
    command = [sys.executable, "-c", MEASURE, str(folder), processors]
    result = subprocess.run(command, capture_output=True, check=False, text=True)
    assert result.returncode == 0, result.stderr
    measured: dict[str, float] = json.loads(result.stdout)
    return measured
