r"""What is typed on and told to a terminal or a pipe whose character set has not all characters: nothing ends for it.

typed ─▶ bytes that are none of its characters are UTF-8
for people ─▶ what it has not is written out: `\u2026`
for scripts ─▶ where it is not UTF-8, JSON's own escapes, so that it stays the same JSON
"""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import sys

_NO_CHARACTERS = re.compile("[\udc80-\udcff]")
"""How Python keeps bytes of the command line that it could not decode."""
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


def write_out_what_is_missing() -> None:
    """Let standard output take any character; how somebody set it to deal with others (PYTHONIOENCODING) stays."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in {"strict", "surrogateescape"}:
        sys.stdout.reconfigure(errors="backslashreplace")


def as_text(argument: str) -> str:
    """An argument of the command line as it was typed; PostgreSQL would refuse what Python makes of other bytes."""
    if _NO_CHARACTERS.search(argument) is None:
        return argument
    return os.fsencode(argument).decode(errors="replace")


def is_utf8() -> bool:
    """Whether standard output is read as UTF-8."""
    return codecs.lookup(getattr(sys.stdout, "encoding", None) or "utf-8").name == "utf-8"


def in_ascii(text: str) -> str:
    r"""JSON with all that is not ASCII escaped.

    >>> in_ascii('{"name": "é\U0001f600"}')
    '{"name": "\\u00e9\\ud83d\\ude00"}'
    """
    return _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)
