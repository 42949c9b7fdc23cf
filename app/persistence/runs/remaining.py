"""How many jobs of a run were open when this process last moved its books: whether the end may be near.

A guess: others move them, too. Where it is wrong a transaction is done twice (`last_statements.py`), so it has to be
right nearly always.
"""

from __future__ import annotations

from collections import OrderedDict

NEAR = 100
"""Open jobs from which on the next commit may find the end: more than a few workers end in between."""
MOST_KEPT = 1_000
"""Runs; those that nobody moved for the longest time are forgotten."""

_seen: OrderedDict[str, int] = OrderedDict()


def note_open(run_id: str, jobs: int) -> None:
    """So many jobs of the run are open."""
    _seen[run_id] = jobs
    _seen.move_to_end(run_id)
    if len(_seen) > MOST_KEPT:
        _seen.popitem(last=False)


def may_end(run_id: str, opened: int) -> bool:
    """Whether the run may be over when its open jobs were moved by `opened`."""
    return opened < 0 and _seen.get(run_id, 0) + opened < NEAR
