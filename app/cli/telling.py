"""What a command tells: live on a terminal, plain lines elsewhere, JSON for scripts; errors go to standard error.

On anything that takes longer somebody who reads the plain lines sees one at least every two seconds.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli.charsets import in_ascii, is_utf8
from app.cli.exits import nobody_reads
from app.errors import SettingsError
from app.settings import load_settings

NAME = "promidata-sync"
PLAIN_EVERY_S = 1.9
PLAIN_WIDTH = 80
"""Characters of a line where neither a terminal nor COLUMNS says how wide it is."""


def own_name() -> str:
    """How this command is called here: in a clone it is not on the PATH."""
    called = sys.argv[0]
    return called if Path(called).name == NAME and shutil.which(NAME) is None else NAME


class Teller:
    """Standard output of one command."""

    def __init__(self, *, quiet: bool = False) -> None:
        """Prepare it; `quiet` tells nothing, for commands that print JSON in the end."""
        self.console = Console(highlight=False, soft_wrap=True, emoji=False, quiet=quiet)
        self.live = self.console.is_terminal
        if not self.live and not os.environ.get("COLUMNS", "").isdigit():
            self.console.width = PLAIN_WIDTH

    def say(self, line: str | Text, *, whole: bool = False) -> None:
        """Print one line; square brackets stay what they are.

        Where no terminal wraps it, it goes on in the next line between two words: an id or an address stays whole, and
        so does what is `whole`, a command to be copied.
        """
        text = line if isinstance(line, Text) else Text(line)
        for part in text.split("\n", allow_blank=True):
            for piece in [part] if self.live or whole else _wrapped(part, self.console.width):
                self.console.print(piece)

    def show(self, table: Table) -> None:
        """Print a table."""
        self.console.print(table)

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Say what takes time while the block runs, also when the block keeps the main thread."""
        if self.live:
            with self.console.status(what):
                yield
            return
        self.say(f"{what} ...")
        over = threading.Event()
        thread = threading.Thread(target=self._remind, args=(what, over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _remind(self, what: str, over: threading.Event) -> None:
        began = time.monotonic()
        while not over.wait(PLAIN_EVERY_S):
            self.say(f"{what} ... {time.monotonic() - began:.0f} s")


def _wrapped(line: Text, width: int) -> list[Text]:
    """A line in pieces of at most `width` characters, but for longer words; the second begins further in."""
    indent = " " * (len(line.plain) - len(line.plain.lstrip()) + 4)
    pieces = textwrap.wrap(line.plain, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    if len(pieces) < 2:
        return [line]
    return [Text(piece) for piece in pieces]


def in_one_line(text: str) -> str:
    r"""A text of the feed with line breaks and other control characters written out, so that a terminal obeys none.

    >>> in_one_line("A\nB é")
    'A\\nB é'
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def tell_json(value: Any) -> None:
    """Print one JSON document, for scripts."""
    document = msgspec.json.format(msgspec.json.encode(value)).decode()
    Console(soft_wrap=True, highlight=False).print(
        document if is_utf8() else in_ascii(document), markup=False, highlight=False
    )


def tell_lines(lines: bytes) -> None:
    """Print whole lines of JSON as they are, at once.

    Raises:
        SystemExit: their reader has gone (`| head`), which is no outage of the database that they are read from.
    """
    try:
        sys.stdout.buffer.write(lines if is_utf8() else in_ascii(lines.decode()).encode())
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise SystemExit(nobody_reads()) from None


def complain(message: str) -> None:
    """Say on standard error what failed and what to do."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("[bold red]error:[/] ", end="")
    console.print(message, markup=False)


def remark(line: str) -> None:
    """Say something on standard error that is no failure."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(line, markup=False)


def show_traceback(error: BaseException) -> None:
    """Where an error came from, on standard error, where LOG_LEVEL asks for that much."""
    with suppress(SettingsError):
        if load_settings().log_level == "DEBUG":
            sys.stderr.writelines(traceback.format_exception(error))
