"""A worker gives way: where processors are short, whoever waits for an answer goes first (docs/decisions/0031).

    WORKERS_NICE ─▶ this process ─▶ and, where it leads a session of its own (as under `up`), the session's group

Linux may share processors out between sessions before it looks at priorities ("autogroup"): between the API's session
and a worker's it is the sessions' own that count. A session that others are in, such as a shell's, is left alone.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")
TRIES, PAUSE_S = 20, 0.12


def give_way(by: int) -> None:
    """Lower the priority of this process by so many steps of `nice`; to be called before it has threads."""
    if not by:
        return
    present = os.nice(by)
    if os.getsid(0) == os.getpid():
        _lower_session(present)


def _lower_session(nice: int) -> None:
    """Lower its session's; does nothing on a system that has no such thing."""
    for _ in range(TRIES):
        try:
            AUTOGROUP.write_text(str(nice))
        except BlockingIOError:  # the kernel takes one such wish every tenth of a second, from all that are not root
            time.sleep(PAUSE_S)
        except OSError:
            return
        else:
            return
