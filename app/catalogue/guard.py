"""The removal guard: nothing disappears on trust (ENGINE.md 4). Pure."""

from __future__ import annotations

import math
from typing import Any

import msgspec

FEW = 5
"""So many families, manifest lines or categories may always go."""
SHRINK_SHARE = 0.2
"""A manifest that lost more than this share of its entries is not believed."""


class ManifestState(msgspec.Struct, frozen=True):
    """A manifest as a whole, against the last one that was applied."""

    sha256: str
    entries: int
    applied_entries: int | None
    last_line_cut: bool


class OddLines(msgspec.Struct, frozen=True):
    """The lines of one manifest that could not be read and name a supplier, or none."""

    digests: frozenset[int]
    beyond: int
    """How many more lines of the manifest could not be read than are told apart."""

    def not_in(self, before: OddLines) -> int:
        """How many there are that were not in the manifest before."""
        return len(self.digests - before.digests) + max(0, self.beyond - before.beyond)


class Guard(msgspec.Struct, frozen=True, rename="camel"):
    """Why nothing was removed; the API shows it as it is."""

    would_remove: int
    active: int
    share: float
    limit: int
    manifest_sha256: str

    def as_json(self) -> dict[str, Any]:
        """The guard as the API shows it."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        return built


def check_removals(
    manifest: ManifestState, *, would_remove: int, active: int, share: float, confirmed: bool, new_odd_lines: int = 0
) -> tuple[Guard, str] | None:
    """None when the removals may be carried out, else the guard and why it tripped.

    Args:
        manifest: the manifest as a whole.
        would_remove: active families of the supplier that the manifest does not name any more.
        active: the supplier's families that were active before the run, and before those that the guard held back.
        share: the share of them that may go at once, e.g. 0.2.
        confirmed: an operator confirmed this very manifest.
        new_odd_lines: the lines that may be what is missing, turned unreadable; 0 where no document is missing.
    """
    if confirmed:
        return None
    limit = _most(active, share)
    reason = _manifest_reason(manifest) or _supplier_reason(would_remove, active, limit) or _line_reason(new_odd_lines)
    if reason is None:
        return None
    removed_share = min(1.0, round(would_remove / active, 4)) if active else 0.0
    return Guard(would_remove, active, removed_share, limit, manifest.sha256), reason


def check_categories(*, lost: int, known: int, share: float) -> str | None:
    """None when a category file may take the place of what is known, else why it is not believed.

    Args:
        lost: known categories that the file does not name.
        known: the categories that are known.
        share: the share of them that may go at once, e.g. 0.2; with 1 all may, since nobody can confirm this file.
    """
    if lost > _most(known, share) or (known and lost >= known and share < 1):
        return f"{lost} of {known} categories are missing from the category file, so the names stay as they are"
    return None


def _most(known: int, share: float) -> int:
    """How many of these may go at once."""
    return max(FEW, math.floor(known * share + 1e-9))  # so that 29 % of 100 are 29, whatever binary floats make of it


def _manifest_reason(manifest: ManifestState) -> str | None:
    if manifest.last_line_cut:
        return "the manifest's last line is cut, so nothing was removed"
    before = manifest.applied_entries
    if before is None:
        return None
    lost = before - manifest.entries
    if lost > FEW and lost > before * SHRINK_SHARE:
        return f"the manifest fell from {before} to {manifest.entries} entries, so nothing was removed"
    return None


def _supplier_reason(would_remove: int, active: int, limit: int) -> str | None:
    if would_remove and would_remove >= active:
        return f"all {active} active families are missing from the manifest, so none was removed"
    if would_remove > limit:
        return f"{would_remove} of {active} active families are missing from the manifest, so none was removed"
    return None


def _line_reason(new_odd_lines: int) -> str | None:
    if not new_odd_lines:
        return None
    lines = "a line" if new_odd_lines == 1 else f"{new_odd_lines} lines"
    return (
        f"{lines} of the manifest could not be read that the last one did not have, so nothing was removed; what the"
        " next manifest leaves out as well is believed"
    )
