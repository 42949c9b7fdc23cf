"""Become a program that ends when its parent does, whatever way the parent ends.

    die_with_parent.py METHOD PARENT SIGNAL UID program arguments...

        drop to UID ("-" stays)  ->  arm METHOD  ->  parent still there?  ->  exec

A script of its own instead of `preexec_fn`, which is not safe once the parent has threads. It runs under `python -I -S`
from its path, so it imports the standard library only. The program keeps the pid that the parent got.

METHOD is `prctl` on Linux: the kernel sends SIGNAL when the *thread* that started us ends, so start from the main
thread. Changing the uid clears it, hence the order. Elsewhere it is `watchdog`: a small process that looks every
0.2 s.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_WATCH_EVERY_S = 0.2
_EXIT_PARENT_GONE = 1
_EXIT_NOT_FOUND = 127


def wrap(
    argv: Sequence[str], *, signum: signal.Signals, uid: int | None = None, method: str | None = None
) -> list[str]:
    """Wrap `argv` so that it gets `signum` when this process ends; start the result from the main thread.

    `uid` makes the program run as that user and group, without other groups; only root can ask for it.
    """
    chosen = method or ("prctl" if sys.platform == "linux" else "watchdog")
    who = "-" if uid is None else str(uid)
    return [sys.executable, "-I", "-S", str(Path(__file__)), chosen, str(os.getpid()), str(int(signum)), who, *argv]


def main(arguments: Sequence[str]) -> int:
    """Do what the module says; returns only when the program was not started."""
    method, parent, signum, uid, *argv = arguments
    if uid != "-":
        _drop_to(int(uid))
    _arm(method, int(parent), int(signum))
    if os.getppid() != int(parent):
        return _EXIT_PARENT_GONE
    # Python ignores these two, and what is ignored stays ignored across exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - starting a program without a shell is the purpose
    except OSError as error:
        sys.stderr.write(f"cannot start {argv[0]}: {error.strerror}\n")
    return _EXIT_NOT_FOUND


def _drop_to(uid: int) -> None:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


def _arm(method: str, parent: int, signum: int) -> None:
    if method == "prctl":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0)
    else:
        _leave_watchdog(parent, signum)


def _leave_watchdog(parent: int, signum: int) -> None:
    """Fork twice, so that the watchdog is nobody's child: the program must not have to reap it."""
    program = os.getpid()
    between = os.fork()
    if between:
        os.waitpid(between, 0)
        return
    os.setsid()
    if os.fork() == 0:
        _watch(program, parent, signum)
    os._exit(0)


def _watch(program: int, parent: int, signum: int) -> None:
    while _is_there(parent):
        if not _is_there(program):
            return
        time.sleep(_WATCH_EVERY_S)
    with suppress(ProcessLookupError):
        os.kill(program, signum)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
