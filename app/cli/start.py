"""Where the command begins: Ctrl-C ends it without a word also before there is anything to end, and after all is over.

Ctrl-C just ends ─▶ imports, a quarter of a second ─▶ Ctrl-C interrupts the command ─▶ its end ─▶ Ctrl-C just ends
"""

from __future__ import annotations

INTERRUPTED = 130
"""`ExitCode.INTERRUPTED`, which is not imported yet; as little as can be is, before Ctrl-C is heard."""

try:
    import os
    import signal
except KeyboardInterrupt:
    raise SystemExit(INTERRUPTED) from None


def main() -> int:
    """Run the command line; returns the exit code."""
    _on_ctrl_c(just_end=True)
    from app.cli.main import main as command

    try:
        _on_ctrl_c(just_end=False)
        return command()
    except KeyboardInterrupt:  # while it said how it ended
        return INTERRUPTED
    finally:
        _on_ctrl_c(just_end=True)


def _on_ctrl_c(*, just_end: bool) -> None:
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as of a shell that runs it in the background
        signal.signal(signal.SIGINT, _just_end if just_end else signal.default_int_handler)


def _just_end(*_: object) -> None:
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    raise SystemExit(main())
