"""Counts as people say them."""

from __future__ import annotations


def noun(count: int, one: str, several: str = "") -> str:
    """The word for so many; `several` where it is not `one` with an s.

    >>> noun(1, "job"), noun(2, "job"), noun(0, "job waits", "jobs wait")
    ('job', 'jobs', 'jobs wait')
    """
    return one if count == 1 else several or f"{one}s"


def counted(count: int, one: str, several: str = "") -> str:
    """A count and the word for what it counts.

    >>> counted(1, "supplier"), counted(12, "supplier")
    ('1 supplier', '12 suppliers')
    """
    return f"{count} {noun(count, one, several)}"
