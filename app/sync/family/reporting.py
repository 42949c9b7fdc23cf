"""What a family's documents are reported for: warnings of its run. Pure."""

from __future__ import annotations

from typing import Literal

from app.persistence.problems import Problem
from app.sync.family.deciding import Decided

STALE = "the hash is new and the bytes are the old ones; the document is read once more in the next run"
MOST_WARNINGS = 200
"""Warnings of one document that are listed; a count stands for the rest."""
Kind = Literal["stale", "reading", "listed-twice", "suspect"]


def problems_of(decided: Decided) -> list[Problem]:
    """What is to be known of a family that is written."""
    read = decided.read
    stale = [_warning(decided, "stale", STALE, url=item.url) for item in read.chosen if item.stale]
    found = [
        _warning(decided, "reading", f"{warning.field}: {warning.reason}", sku=warning.sku)
        for warning in read.warnings[:MOST_WARNINGS]
    ]
    if len(read.warnings) > MOST_WARNINGS:
        more = f"{len(read.warnings) - MOST_WARNINGS} more warnings of this document"
        found.append(_warning(decided, "reading", more))
    twice = [
        _warning(decided, "listed-twice", f"family {owner} lists this variant too and keeps it", sku=sku)
        for sku, owner in decided.diff.left_out
    ]
    return [*stale, *found, *twice]


def doubt_of(decided: Decided) -> Problem:
    """Why a family is not believed yet."""
    return _warning(decided, "suspect", decided.doubt or "")


def _warning(decided: Decided, kind: Kind, reason: str, *, url: str | None = None, sku: str | None = None) -> Problem:
    read = decided.read
    return Problem(
        "warning",
        "family",
        kind,
        reason,
        url=url or read.chosen[0].url,
        sku=sku or read.family.sku,
        job_id=decided.job.id,
    )
