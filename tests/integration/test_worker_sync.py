"""A queued sync by real worker processes."""

from __future__ import annotations

from pathlib import Path

from tests.support.stack import Servers
from tests.support.truth import assert_as_if_nothing_had_happened, assert_redis_forgets
from tests.support.worker_stack import worker_stack


async def test_three_workers_bring_the_feed_into_catalogue_and_store(servers: Servers, tmp_path: Path) -> None:
    async with worker_stack(servers, tmp_path) as workers:
        workers.spawn_all()
        await workers.start()
        await workers.over()
        await assert_as_if_nothing_had_happened(workers.stack)
        await assert_redis_forgets(workers.stack)
