"""When documents are committed that have arrived: soon at first, then in larger and larger batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.errors import DatabaseUnavailable
from app.outages import outages
from app.sync.supplier import arrivals_step
from app.sync.supplier.arrivals_step import COMMIT_EVERY_S, COMMIT_FIRST_AFTER_S, Arrivals
from app.sync.supplier.documents_step import Arrival


async def test_the_first_commit_comes_soon_and_each_wait_is_longer_up_to_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wait in which nothing arrived makes the next one no longer: what comes then is a first one, too."""
    waits: list[float] = []
    arrived = iter([False, True, True, False, True, True, True, True])

    async def collect(_: asyncio.Queue[Arrival | None], batch: list[Arrival], within_s: float) -> bool:
        waits.append(within_s)
        if next(arrived):
            batch.append(cast("Arrival", object()))
        return len(waits) < 8

    async def commit(self: Arrivals, batch: Sequence[Arrival]) -> None:
        assert len(batch) == 1

    monkeypatch.setattr(arrivals_step, "_collect", collect)
    monkeypatch.setattr(Arrivals, "_through_outage", commit)
    nothing = cast("Any", None)
    await Arrivals(nothing, nothing, nothing, nothing).commit(asyncio.Queue())
    first = COMMIT_FIRST_AFTER_S
    assert waits == [first, first, 2 * first, 4 * first, 4 * first, 8 * first, COMMIT_EVERY_S, COMMIT_EVERY_S]


async def test_documents_that_wait_for_postgresql_are_told_with_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the worker's beat, which `doctor` reads, and no more once they are committed."""
    told: list[dict[str, str]] = []

    async def commit(self: Arrivals, batch: Sequence[Arrival], *, again: bool) -> None:
        told.append(outages.longer_than(0))
        if not again:
            raise DatabaseUnavailable("permission denied for sequence document_versions")

    monkeypatch.setattr(arrivals_step, "AGAIN_AFTER_S", (0.001,))
    monkeypatch.setattr(Arrivals, "_commit", commit)
    nothing = cast("Any", None)
    await Arrivals(nothing, cast("Any", SimpleNamespace(id="job")), nothing, nothing)._through_outage([])

    assert told == [{}, {"PostgreSQL": "permission denied for sequence document_versions"}]
    assert outages.longer_than(0) == {}
