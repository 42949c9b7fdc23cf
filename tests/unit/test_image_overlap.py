"""Which pictures give their slot away before they are stored."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from app.errors import PictureRefused, StoreUnavailable
from app.sync.image import overlap as module
from app.sync.image.overlap import MOST_BYTES, Overlap


class Slot:
    """Notes whether it was given away."""

    def __init__(self) -> None:
        self.free = False

    def give(self) -> None:
        self.free = True


def freed_by(overlap: Overlap, under_way: ExitStack, size_bytes: int = 1_000) -> bool:
    """Begin to store one more picture; whether its slot is free meanwhile."""
    slot = Slot()
    under_way.enter_context(overlap.storing(size_bytes, slot.give))
    return slot.free


def store(overlap: Overlap, error: Exception | None = None) -> None:
    with overlap.storing(1_000, Slot().give):
        if error is not None:
            raise error


def test_a_slot_is_free_while_its_picture_is_stored_for_so_many_at_a_time() -> None:
    overlap = Overlap(most=2)
    with ExitStack() as under_way:
        assert [freed_by(overlap, under_way) for _ in range(4)] == [True, True, False, False]
    with ExitStack() as under_way:
        assert [freed_by(overlap, under_way) for _ in range(3)] == [True, True, False]


def test_what_is_stored_beside_the_slots_is_bounded_by_its_bytes_too() -> None:
    overlap = Overlap(most=10)
    with ExitStack() as under_way:
        assert not freed_by(overlap, under_way, MOST_BYTES + 1)
        assert freed_by(overlap, under_way, MOST_BYTES - 500)
        assert not freed_by(overlap, under_way, 501)
        assert freed_by(overlap, under_way, 500)
    with ExitStack() as under_way:
        assert freed_by(overlap, under_way, MOST_BYTES)


def test_nothing_gives_its_slot_away_for_a_while_after_an_outage_that_comes_and_goes() -> None:
    """Who met it tries again without a slot and is not counted: with each success between there would be more."""
    overlap = Overlap(most=10)
    with pytest.raises(StoreUnavailable):
        store(overlap, StoreUnavailable("busy"))
    store(overlap)
    with ExitStack() as under_way:
        assert not freed_by(overlap, under_way)


@pytest.fixture
def soon_calm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALM_S", 0.0)


@pytest.mark.usefixtures("soon_calm")
def test_nothing_gives_its_slot_away_from_an_outage_until_one_was_stored() -> None:
    overlap = Overlap(most=10)
    with pytest.raises(StoreUnavailable):
        store(overlap, StoreUnavailable("away"))
    with ExitStack() as under_way:
        assert not freed_by(overlap, under_way)
    with ExitStack() as under_way:
        assert freed_by(overlap, under_way)


@pytest.mark.usefixtures("soon_calm")
def test_a_picture_that_is_refused_says_nothing_of_the_store() -> None:
    overlap = Overlap(most=1)
    with pytest.raises(PictureRefused):
        store(overlap, PictureRefused("no", kind="picture-not-stored"))
    with ExitStack() as under_way:
        assert freed_by(overlap, under_way)
    with pytest.raises(StoreUnavailable):
        store(overlap, StoreUnavailable("away"))
    with pytest.raises(PictureRefused):
        store(overlap, PictureRefused("no", kind="picture-not-stored"))
    with ExitStack() as under_way:
        assert not freed_by(overlap, under_way)
