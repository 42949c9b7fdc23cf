"""Runs: one sync of one supplier, its counters, and its one end.

The last statement of every committing transaction is `book`: it moves `open_jobs` and the counters together, and who
reads 0 writes the end in the same transaction. The run's row is the last that is locked, so it is held only for the
commit itself.
"""

from __future__ import annotations

from app.persistence.runs.books import COUNTERS, Move, book, book_each, book_with_jobs, commonest_reason
from app.persistence.runs.cancelling import cancel, cancelled_counts
from app.persistence.runs.direct import direct_totals, end_abandoned, end_stopped, is_over, renew_lease, silent_runs
from app.persistence.runs.noting import (
    DocumentsSoFar,
    documents_so_far,
    families_so_far,
    set_fatal,
    set_guard,
    set_manifest,
)
from app.persistence.runs.starting import RunStart, mark_running, start_run, under_way

__all__ = [
    "COUNTERS",
    "DocumentsSoFar",
    "Move",
    "RunStart",
    "book",
    "book_each",
    "book_with_jobs",
    "cancel",
    "cancelled_counts",
    "commonest_reason",
    "direct_totals",
    "documents_so_far",
    "end_abandoned",
    "end_stopped",
    "families_so_far",
    "is_over",
    "mark_running",
    "renew_lease",
    "set_fatal",
    "set_guard",
    "set_manifest",
    "silent_runs",
    "start_run",
    "under_way",
]
