"""Where the command begins: Ctrl-C just ends it, without a word, but where it has something to put in order.

    Ctrl-C just ends ─▶ imports, settings, what is typed ─▶ interruptible work (interrupts.py) ─▶ what is told of it

An exception would be shown by what imports, or lost where Python calls back on its own.
"""

from __future__ import annotations

try:  # as little as can be, before Ctrl-C is heard
    import signal

    from app.cli.exits import just_end
except KeyboardInterrupt:
    raise SystemExit(130) from None


def main() -> int:
    """Run the command line; returns the exit code."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as of a shell that runs it in the background
        signal.signal(signal.SIGINT, just_end)
    from app.cli.main import main as command

    return command()
