"""A process that runs short of descriptors or memory does not take it for a picture's fault, or for a host's."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from typing import Any, NoReturn

import aiohttp
import pytest
from PIL import Image

from app.errors import PictureRefused, TransientError
from app.images.inspect import inspect_picture
from app.outbound.client import _explain
from app.scarce import shortage

MOST_PIXELS = 1_000
WITHOUT_FILES = """
import os, sys
from app.images.inspect import inspect_picture
taken = []
try:
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
for body in sys.argv[1:]:
    inspect_picture(bytes.fromhex(body), max_pixels=1000)
"""

WITHOUT_MEMORY = """
import resource, sys
from pathlib import Path
from app.errors import TransientError
from app.images.inspect import inspect_picture
body = bytes.fromhex(sys.argv[1])
inspect_picture(bytes.fromhex(sys.argv[2]), max_pixels=1000)
in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + 8_000_000, resource.RLIM_INFINITY))
try:
    inspect_picture(body, max_pixels=10_000_000)
except TransientError as error:
    print(error, "|", error.__cause__)
"""


def picture(form: str, side: int = 4) -> bytes:
    body = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(body, form)
    return body.getvalue()


def test_pictures_are_judged_by_a_process_that_can_open_no_file() -> None:
    limited = ["sh", "-c", 'ulimit -n 64 && exec "$@"', "sh", sys.executable, "-c", WITHOUT_FILES]
    subprocess.run([*limited, *(picture(form).hex() for form in ("JPEG", "PNG", "WEBP", "GIF"))], check=True)


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), MemoryError()])
def test_what_it_runs_short_of_is_no_verdict(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise SyntaxError("a parser stumbled") from error

    body = picture("GIF")
    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(TransientError, match="this worker ran short of"):
        inspect_picture(body, max_pixels=MOST_PIXELS)


@pytest.mark.skipif(sys.platform != "linux", reason="how much memory may be had is set as Linux has it")
def test_a_picture_that_its_library_calls_broken_for_want_of_memory_is_not() -> None:
    """libwebp says the same of a file that is damaged."""
    bodies = [picture("WEBP", 1_600).hex(), picture("WEBP").hex()]
    no_heap = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    asked = [sys.executable, "-c", WITHOUT_MEMORY, *bodies]
    said = subprocess.run(asked, check=True, capture_output=True, text=True, env=no_heap).stdout
    assert said == "this worker ran short of memory | could not create decoder object\n"


def test_a_damaged_picture_is_damaged_where_there_is_memory() -> None:
    body = bytearray(picture("WEBP", 1_600))
    body[24:32] = bytes(8)
    with pytest.raises(PictureRefused) as refused:
        inspect_picture(bytes(body), max_pixels=10_000_000)
    assert refused.value.kind == "picture-damaged"


def test_a_host_that_was_never_asked_is_not_blamed() -> None:
    key: Any = None
    told = _explain(aiohttp.ClientConnectorError(key, OSError(errno.EMFILE, "Too many open files")))
    assert "ulimit -n" in told
    assert shortage(OSError(errno.ECONNREFUSED, "refused")) is None
