"""Much at once (CASES.md B6): tens of thousands of failed jobs, and suppliers that share their pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.jobs.definitions import IMAGE_UPLOAD
from app.persistence.audit import Act
from app.samplefeed import FeedSpec, SampleFeed
from app.sync.operating.acting import audited
from app.sync.operating.by_hand import RETRIED_AT_ONCE, retry_failed
from tests.support.oracle import expected_pictures
from tests.support.stack import Servers, Stack
from tests.support.truth import assert_catalogue_equals_feed, assert_no_attempt_spent, assert_nothing_left_over
from tests.support.worker_stack import worker_stack

FAILED = """
INSERT INTO jobs (id, queue, run_id, supplier_id, key, args, state, attempts, error)
SELECT 'image-upload-' || n, 'image-upload', r.id, r.supplier_id, CAST(n AS text), '{"address_id": 1}', 'failed', 3,
    'away'
FROM generate_series(1, :number) n CROSS JOIN runs r
"""
RUN = """
INSERT INTO runs (id, supplier_id, mode, trigger, status, supplier_job_id, finished_at, error, images_total,
    images_failed)
SELECT gen_random_uuid(), min(id), 'queued', 'api', 'completed_with_errors', 'x', now(), 'away', :number, :number
FROM suppliers
"""


@pytest.mark.parametrize("number", [2_500, pytest.param(50_000, marks=pytest.mark.chaos)])
async def test_all_failed_jobs_of_a_queue_are_retried_each_once(stack: Stack, number: int) -> None:
    async with stack.services.database.begin() as db:
        await db.execute(text(RUN), {"number": number})
        await db.execute(text(FAILED), {"number": number})
    act = Act("boss", None, "cli", "retryFailed", IMAGE_UPLOAD, detail={})
    async with audited(stack.services.database, stack.settings, act):
        assert await retry_failed(stack.services, IMAGE_UPLOAD) == number
    told = await stack.rows("SELECT CAST(detail ->> 'retried' AS int) AS retried FROM audit")
    assert (sum(entry["retried"] for entry in told), len(told)) == (number, -(-number // RETRIED_AT_ONCE))
    (run,) = await stack.rows("SELECT open_jobs, images_failed FROM runs")
    assert run == {"open_jobs": number, "images_failed": 0}
    assert await stack.rows("SELECT DISTINCT state, attempts FROM jobs") == [{"state": "waiting", "attempts": 0}]
    assert stack.services.queue is not None
    assert await stack.services.queue.length(IMAGE_UPLOAD) == number


@pytest.mark.chaos
async def test_suppliers_that_share_pictures_do_not_get_in_each_others_way(servers: Servers, tmp_path: Path) -> None:
    feed = SampleFeed(FeedSpec.small(count=4, families=8, variants=3, oddities=False))
    async with worker_stack(
        servers, tmp_path, feed, concurrency_supplier=4, concurrency_families=8, concurrency_images=40
    ) as workers:
        shared = _share_pictures(feed, 40)
        workers.spawn_all()
        await workers.start()
        await workers.over()
        await assert_nothing_left_over(workers.stack)
        await assert_no_attempt_spent(workers.stack)
        await assert_catalogue_equals_feed(workers.stack)
        asked = workers.stack.server.log.paths("picture")
        assert max(asked.count(address.removeprefix(feed.pictures_origin)) for address in shared) <= 4


def _share_pictures(feed: SampleFeed, number: int) -> list[str]:
    """Every variant of every supplier shows one of the same few pictures first."""
    shared = sorted(expected_pictures(feed, "A23"))[:number]
    for position, entry in enumerate(list(feed.entries())):

        def share(document: dict[str, Any], position: int = position) -> None:
            for place, child in enumerate(document["ChildProducts"]):
                for texts in child["ProductDetails"].values():
                    texts["Image"]["Url"] = shared[(position + 7 * place) % number]

        feed.edit(entry.file_name.removesuffix(".json"), share)
    return shared
