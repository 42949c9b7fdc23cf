"""The time of a job that is claimed again by the worker that had it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from app.sync.stage.progress import ProgressBoard


async def test_an_older_claim_that_ends_late_leaves_the_newer_ones_time_alone() -> None:
    """Or its checkpoints would not count, and a long job that goes on well would end as hung."""
    board, job = ProgressBoard(cast("Any", None)), cast("Any", SimpleNamespace(id="job"))
    older = board.slice(job, asyncio.timeout(None), 1.0)
    older.__enter__()
    with board.slice(job, asyncio.timeout(None), 1.0) as now:
        older.__exit__(None, None, None)
        board.note_checkpoint(job)

        assert now.reached_checkpoint
