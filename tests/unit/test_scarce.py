"""A process that runs short of descriptors or memory does not take it for a picture's fault, or for a host's."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
from typing import Any, NoReturn

import aiohttp
import pytest
from PIL import Image

from app.errors import TransientError
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


def picture(form: str) -> bytes:
    body = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(body, form)
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


def test_a_host_that_was_never_asked_is_not_blamed() -> None:
    key: Any = None
    told = _explain(aiohttp.ClientConnectorError(key, OSError(errno.EMFILE, "Too many open files")))
    assert "ulimit -n" in told
    assert shortage(OSError(errno.ECONNREFUSED, "refused")) is None
