r"""What is told to a terminal or a pipe whose character set has not all characters: nothing ends for want of one.

for people ─▶ what it has not is written out: `\u2026`
for scripts ─▶ where it is not UTF-8, JSON's own escapes, so that it stays the same JSON
"""

from __future__ import annotations

import codecs
import io
import json
import re
import sys

_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


def write_out_what_is_missing() -> None:
    """Let standard output take any character; how somebody set it to deal with others (PYTHONIOENCODING) stays."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in {"strict", "surrogateescape"}:
        sys.stdout.reconfigure(errors="backslashreplace")


def is_utf8() -> bool:
    """Whether standard output is read as UTF-8."""
    return codecs.lookup(getattr(sys.stdout, "encoding", None) or "utf-8").name == "utf-8"


def in_ascii(text: str) -> str:
    r"""JSON with all that is not ASCII escaped.

    >>> in_ascii('{"name": "é\U0001f600"}')
    '{"name": "\\u00e9\\ud83d\\ude00"}'
    """
    return _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)
