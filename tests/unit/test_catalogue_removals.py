"""What may be removed, what is not believed at once, and how a run ends: the rules as tables (ENGINE.md 2, 3 and 4)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.catalogue.content import FamilyContent
from app.catalogue.diff import FamilyDiff
from app.catalogue.guard import ManifestState, OddLines, check_removals
from app.catalogue.suspicion import why_suspect
from app.catalogue.verdict import RunCounts, decide_end
from tests.unit.test_catalogue_diff import arrived, kept

WHOLE = ManifestState("ab", entries=100, applied_entries=100, last_line_cut=False)


@pytest.mark.parametrize(
    ("would_remove", "active", "share", "trips"),
    [
        (0, 0, 0.2, False),
        (0, 100, 0.2, False),
        (1, 1, 0.2, True),
        (5, 5, 0.2, True),
        (5, 6, 0.2, False),
        (6, 7, 0.2, True),
        (20, 100, 0.2, False),
        (21, 100, 0.2, True),
        (29, 100, 0.29, False),
        (30, 100, 0.29, True),
        (5, 100, 0.0, False),
        (6, 100, 0.0, True),
        (99, 100, 1.0, False),
        (100, 100, 1.0, True),
    ],
)
def test_at_most_five_families_or_the_share_go_at_once_and_never_all(
    would_remove: int, active: int, share: float, trips: bool
) -> None:
    found = check_removals(WHOLE, would_remove=would_remove, active=active, share=share, confirmed=False)
    assert (found is not None) == trips
    if found is not None:
        guard, reason = found
        assert (guard.would_remove, guard.active, guard.manifest_sha256) == (would_remove, active, "ab")
        assert guard.share == round(would_remove / active, 4)
        assert "removed" in reason


@pytest.mark.parametrize(
    ("entries", "applied", "cut", "trips"),
    [
        (100, None, False, False),
        (80, 100, False, False),
        (79, 100, False, True),
        (5, 10, False, False),
        (4, 10, False, True),
        (1, 6, False, False),
        (200, 100, False, False),
        (100, 100, True, True),
        (100, None, True, True),
    ],
)
def test_a_manifest_that_lost_too_much_or_is_cut_trips_for_every_supplier(
    entries: int, applied: int | None, cut: bool, trips: bool
) -> None:
    manifest = ManifestState("ab", entries, applied, cut)
    assert (check_removals(manifest, would_remove=0, active=50, share=0.2, confirmed=False) is not None) == trips
    assert check_removals(manifest, would_remove=50, active=50, share=0.2, confirmed=True) is None


@pytest.mark.parametrize(
    ("before", "now", "new"),
    [
        (OddLines(frozenset(), 0), OddLines(frozenset(), 0), 0),
        (OddLines(frozenset(), 0), OddLines(frozenset({1, 2}), 0), 2),
        (OddLines(frozenset({1}), 0), OddLines(frozenset({1}), 0), 0),
        (OddLines(frozenset({1}), 0), OddLines(frozenset({1, 2}), 0), 1),
        (OddLines(frozenset({1, 2}), 0), OddLines(frozenset({2}), 0), 0),
        (OddLines(frozenset({1}), 5), OddLines(frozenset({1}), 5), 0),
        (OddLines(frozenset({1}), 5), OddLines(frozenset({1}), 6), 1),
        (OddLines(frozenset({1}), 5), OddLines(frozenset({1}), 4), 0),
    ],
)
def test_an_odd_line_holds_removals_back_while_the_manifest_before_did_not_have_it(
    before: OddLines, now: OddLines, new: int
) -> None:
    assert now.not_in(before) == new
    found = check_removals(WHOLE, would_remove=1, active=50, share=0.2, confirmed=False, new_odd_lines=new)
    assert (found is not None) == bool(new)
    assert check_removals(WHOLE, would_remove=1, active=50, share=0.2, confirmed=True, new_odd_lines=new) is None


def test_the_guard_is_shown_with_the_contracts_names() -> None:
    found = check_removals(WHOLE, would_remove=30, active=40, share=0.2, confirmed=False)
    assert found is not None
    assert found[0].as_json() == {
        "wouldRemove": 30,
        "active": 40,
        "share": 0.75,
        "limit": 8,
        "manifestSha256": "ab",
    }


@pytest.mark.parametrize(
    ("dropped", "active", "elsewhere", "doubted"),
    [
        (0, 4, 0, False),
        (1, 20, 0, False),
        (1, 1, 0, True),
        (2, 2, 0, True),
        (2, 3, 0, False),
        (3, 6, 0, False),
        (3, 5, 0, True),
        (10, 20, 0, False),
        (11, 20, 0, True),
        (18, 20, 0, True),
        (18, 20, 16, False),
        (18, 20, 18, False),
        (1, 1, 1, False),
    ],
)
def test_a_document_that_lost_more_than_half_of_its_variants_or_all_is_read_once_more(
    dropped: int, active: int, elsewhere: int, doubted: bool
) -> None:
    gone = [kept(arrived(f"V{number}")) for number in range(dropped)]
    diff = FamilyDiff("updated", FamilyContent("F", {}, b"", []), {}, [], gone, [])
    moved = [variant.sku for variant in gone[:elsewhere]]
    assert (why_suspect(diff, active, moved) is not None) == doubted


@pytest.mark.parametrize(
    ("waiting", "anew", "active", "doubted"), [(2, 2, 6, False), (2, 3, 6, True), (3, 0, 5, False)]
)
def test_what_was_believed_to_go_and_waits_to_be_settled_is_doubted_no_more(
    waiting: int, anew: int, active: int, doubted: bool
) -> None:
    before = [msgspec.structs.replace(kept(arrived(f"W{number}")), dropped=True) for number in range(waiting)]
    gone = [*before, *(kept(arrived(f"V{number}")) for number in range(anew))]
    diff = FamilyDiff("updated", FamilyContent("F", {}, b"", []), {}, [], gone, [])
    assert (why_suspect(diff, active, []) is not None) == doubted


CLEAN = RunCounts(
    cancelling=False,
    fatal=False,
    guarded=False,
    documents_wanted=0,
    documents_failed=0,
    families_failed=0,
    images_failed=0,
)


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ({}, "completed"),
        ({"documents_wanted": 50}, "completed"),
        ({"images_failed": 1}, "completed_with_errors"),
        ({"families_failed": 1}, "completed_with_errors"),
        ({"guarded": True}, "completed_with_errors"),
        ({"documents_wanted": 9, "documents_failed": 8}, "completed_with_errors"),
        ({"documents_wanted": 9, "documents_failed": 9}, "failed"),
        ({"documents_wanted": 1, "documents_failed": 1}, "failed"),
        ({"documents_wanted": 10, "documents_failed": 5}, "completed_with_errors"),
        ({"documents_wanted": 10, "documents_failed": 6}, "failed"),
        ({"fatal": True}, "failed"),
        ({"fatal": True, "cancelling": True}, "cancelled"),
        ({"cancelling": True, "images_failed": 3}, "cancelled"),
        ({"images_failed": 100_000}, "completed_with_errors"),
    ],
)
def test_how_a_run_ends(counts: dict[str, Any], status: str) -> None:
    assert decide_end(msgspec.structs.replace(CLEAN, **counts)) == status
