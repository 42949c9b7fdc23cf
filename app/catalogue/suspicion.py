"""When a document is not believed at once (ENGINE.md 3, "Suspects"). Pure."""

from __future__ import annotations

from collections.abc import Collection

from app.catalogue.diff import FamilyDiff

LEAST = 3
"""Fewer variants than this may go from a family at once, unless they are all it has."""


def takes_most(going: int, active: int) -> bool:
    """Whether more of a family's active variants would go than its document is believed at once."""
    return 0 < going == active or (going >= LEAST and going * 2 > active)


def why_suspect(diff: FamilyDiff, active: int, listed_elsewhere: Collection[str]) -> str | None:
    """Why a family's document is to be read once more before it is believed, or None.

    What was dropped before and waits to be settled has been believed: it neither goes once more nor stays.

    Args:
        diff: the decision about the family.
        active: how many active variants the family has that were its own before this run.
        listed_elsewhere: variants that another family lists; they move and do not go.
    """
    active -= sum(variant.dropped for variant in diff.dropped)
    going = sum(not variant.dropped and variant.sku not in listed_elsewhere for variant in diff.dropped)
    if not takes_most(going, active):
        return None
    missing = f"all {active}" if going == active else f"{going} of {active}"
    return f"{missing} active variants are missing from the document; they stay until it was read once more"
