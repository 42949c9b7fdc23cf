"""How a command ends: an exit code, and where it failed one line on the error stream.

a command ─▶ exit code │ wrong usage: what is possible │ an error of ours: its message
  │                    │ anything else: its type and message, at LOG_LEVEL=DEBUG the traceback
  └─▶ a reader that has gone (`| head`): nothing is said
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from app.cli.charsets import write_out_what_is_missing
from app.cli.exits import ExitCode, nobody_reads
from app.errors import FieldInvalid, OriginRefused, OriginUnavailable, PromidataSyncError

NAME = "promidata-sync"


def ending_of(work: Callable[[], object]) -> int:
    """Do `work`, say what is to be said of its end, and return the exit code; a number that it returns is one."""
    write_out_what_is_missing()
    try:
        ended = work()
        if sys.stdout is not None:  # started with it closed
            sys.stdout.flush()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(ExitCode.OK)
    except (KeyboardInterrupt, typer.Abort):
        return int(ExitCode.INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the last door: a traceback helps nobody who runs a command
        return _failed(error)
    return ended if isinstance(ended, int) else int(ExitCode.OK)


def _failed(error: Exception) -> int:
    match error:
        case typer.TyperException():
            return _wrong_usage(error)
        case BrokenPipeError():
            return nobody_reads()
        case OriginUnavailable() | OriginRefused():
            return _complain(f"{error}; is PROMIDATA_BASE_URL right?", error)
        case FieldInvalid():
            return _complain(str(error), error, ExitCode.USAGE)
        case PromidataSyncError():
            return _complain(str(error), error)
        case _:
            return _complain(f"unexpected {type(error).__name__}: {error}; LOG_LEVEL=DEBUG shows where", error)


def _wrong_usage(error: typer.TyperException) -> int:
    """One line; a group without a command has shown its help by now and has no message."""
    from app.cli.telling import complain

    message = _in_words(error).rstrip(" .")
    if message:
        context = getattr(error, "ctx", None)
        where = NAME if context is None else context.command_path
        complain(_one_line(f"{message}; `{where} --help` says what is possible"))
    return error.exit_code


def _in_words(error: typer.TyperException) -> str:
    """The message; where a value was read by pydantic, without its words."""
    message = error.format_message()
    if error.__cause__ is not None:
        from pydantic import ValidationError

        from app.views.refusals import refusal_in_words

        if isinstance(error.__cause__, ValidationError):
            for part in error.__cause__.errors():
                message = message.replace(part["msg"], refusal_in_words(part))
    return message


def _complain(message: str, error: Exception, code: ExitCode = ExitCode.FAILED) -> int:
    from app.cli.telling import complain, show_traceback

    complain(_one_line(message))
    show_traceback(error)
    return int(code)


def _one_line(text: str) -> str:
    return " ".join(text.split())
