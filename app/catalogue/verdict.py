"""How a run ended, decided from its counters alone (ENGINE.md 2, "Status")."""

from __future__ import annotations

from typing import Literal

import msgspec

FinalStatus = Literal["completed", "completed_with_errors", "failed", "cancelled"]
FEW_DOCUMENTS = 10
"""Below this many, some failed documents do not fail a run."""


class RunCounts(msgspec.Struct, frozen=True):
    """What the verdict rests on."""

    cancelling: bool
    fatal: bool
    """The supplier job itself failed: the manifest was empty or unreadable, or the origin stayed away."""
    guarded: bool
    documents_wanted: int
    documents_failed: int
    families_failed: int
    images_failed: int


def decide_end(counts: RunCounts) -> FinalStatus:
    """The final status of a run whose last job is over.

    >>> decide_end(RunCounts(False, False, False, 10, 6, 0, 0))
    'failed'
    """
    if counts.cancelling:
        return "cancelled"
    if counts.fatal or too_many_failed(counts.documents_wanted, counts.documents_failed):
        return "failed"
    if counts.guarded or counts.documents_failed or counts.families_failed or counts.images_failed:
        return "completed_with_errors"
    return "completed"


def too_many_failed(wanted: int, failed: int) -> bool:
    """Whether so many of the documents that a run asked for could not be had that it fails."""
    all_failed = wanted > 0 and failed >= wanted
    return all_failed or (wanted >= FEW_DOCUMENTS and failed * 2 > wanted)
