"""The states of jobs and runs as SQL lists: `state IN {OPEN_JOB}`.

Literals and no parameters, so that partial indexes with the same condition are used whatever a plan knows of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.states import CLOSED, OPEN, UNDER_WAY, WAITING


def _listed(states: Iterable[str]) -> str:
    return "(" + ", ".join(f"'{state}'" for state in states) + ")"


OPEN_JOB = _listed(OPEN)
WAITING_JOB = _listed(WAITING)
CLOSED_JOB = _listed(CLOSED)
RUN_UNDER_WAY = _listed(UNDER_WAY)
CANCELLED = """state = 'cancelled', claim = NULL, finished_at = clock_timestamp(),
            attempts = j.attempts + CAST(j.state = 'active' AS int)"""
"""What `UPDATE jobs j SET` makes of an open job that is cancelled: an attempt under way counts as made."""
