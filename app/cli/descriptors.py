"""How many files and connections this process may have open at once."""

from __future__ import annotations

import resource
from contextlib import suppress

ENOUGH = 65536
"""No process of ours needs more; what walks through all possible descriptors takes long where there are a billion."""


def raise_open_files_limit() -> int:
    """Take what the system allows without asking anybody; returns how many it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return ENOUGH if soft == resource.RLIM_INFINITY else soft


def connection_limit(wanted: int, open_files: int) -> int:
    """How many connections a server takes that may have `open_files` descriptors; a quarter is left for all else.

    >>> connection_limit(1000, 65536), connection_limit(1000, 1024)
    (1000, 768)
    """
    return min(wanted, open_files * 3 // 4)
