"""Whether an error says that this process or machine ran short of something, and nothing of what it was working on."""

from __future__ import annotations

import errno

SHORT_OF = {
    errno.EMFILE: "file descriptors: raise its limit (ulimit -n, LimitNOFILE)",
    errno.ENFILE: "file descriptors, as the whole machine: raise fs.file-max",
    errno.ENOMEM: "memory",
    errno.ENOBUFS: "memory for the network",
}


def shortage(error: BaseException) -> str | None:
    """What this process ran short of, if that is why `error` or one that led to it was raised.

    >>> shortage(OSError(24, "Too many open files"))
    'file descriptors: raise its limit (ulimit -n, LimitNOFILE)'
    >>> shortage(OSError(2, "No such file")) is None
    True
    """
    reason: BaseException | None = error
    while reason is not None:
        if isinstance(reason, MemoryError):
            return SHORT_OF[errno.ENOMEM]
        if isinstance(reason, OSError) and reason.errno in SHORT_OF:
            return SHORT_OF[reason.errno]
        reason = reason.__cause__ or reason.__context__
    return None


def lacks_memory(size: float) -> bool:
    """Whether so many bytes could not be had at this moment; they are asked for and given back, and none is written to.

    For libraries that say "broken" where they got no memory: what they needed is asked for once more.

    >>> lacks_memory(1e6), lacks_memory(1e17)
    (False, True)
    """
    try:
        bytes(int(size))
    except (MemoryError, OverflowError):
        return True
    return False
