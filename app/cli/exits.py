"""Exit codes that a script can use, the same for every command."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    """The thing failed: a run, a check, a part that is away. One message on standard error says what to do."""
    USAGE = 2
    """The command line makes no sense, or a value on it; nothing was done."""
    WITH_ERRORS = 3
    """A run that was waited for ended `completed_with_errors`."""
    CANCELLED = 4
    """A run that was waited for was cancelled."""
    INTERRUPTED = 130
    """Ctrl-C."""


EPILOG = (
    "Exit codes: 0 ok, 1 it failed (the message says what to do), 2 wrong usage, 130 Ctrl-C; "
    "where a run is waited for also 3 completed with errors, 4 cancelled."
)
_BY_STATUS = {
    "completed": ExitCode.OK,
    "completed_with_errors": ExitCode.WITH_ERRORS,
    "cancelled": ExitCode.CANCELLED,
    "failed": ExitCode.FAILED,
}
_WORST_FIRST = (ExitCode.FAILED, ExitCode.CANCELLED, ExitCode.WITH_ERRORS)


def exit_code_of(statuses: Iterable[str]) -> ExitCode:
    """The exit code of runs that are over, the worst one deciding.

    >>> exit_code_of(["completed", "completed_with_errors"])
    <ExitCode.WITH_ERRORS: 3>
    """
    codes = {_BY_STATUS[status] for status in statuses}
    return next((code for code in _WORST_FIRST if code in codes), ExitCode.OK)


def end_if_unread() -> None:
    """Ask whether standard output is read still; a pipe says so without a byte being written to it.

    Raises:
        SystemExit: its reader has gone (`| head`).
    """
    if sys.stdout is None:  # started with it closed
        return
    pipe = select.poll()
    pipe.register(sys.stdout.fileno(), 0)
    if pipe.poll(0):
        raise SystemExit(nobody_reads())


def nobody_reads() -> int:
    """The reader of standard output has gone: say nothing, at the interpreter's end either; returns the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(ExitCode.FAILED)


def just_end(*_: object) -> None:
    """Ctrl-C where there is nothing to put in order."""
    os._exit(ExitCode.INTERRUPTED)
