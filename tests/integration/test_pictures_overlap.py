"""The next download does not wait for a picture's put, and an outage of the store has no more in hand than it may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from app.jobs.definitions import IMAGE_UPLOAD, policies
from app.persistence.ledger import ClaimedJob
from app.sync.running.outcomes import work_off
from tests.conftest import MakeStack
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.image_jobs import HeldRun
from tests.support.picture_origin import PictureOrigin, bare_feed, jpeg, show, skus_of
from tests.support.raw_http import RawServer, serve
from tests.support.s3_servers import ACCESS_KEY, BUCKET, SECRET_KEY
from tests.support.stack import Stack
from tests.support.waiting import eventually

SLOTS, PICTURES = 2, 8


class Gate:
    """The slots of a worker, as the image jobs see them."""

    def __init__(self, run: HeldRun) -> None:
        self._run = run
        self._slots = asyncio.Semaphore(SLOTS)

    async def work(self, job: ClaimedJob) -> None:
        """Run the job to its end, with a slot for as long as it wants one."""
        await self._slots.acquire()
        has_slot = True

        def free() -> None:
            nonlocal has_slot
            if has_slot:
                has_slot = False
                self._slots.release()

        services = self._run.surroundings.services
        policy = policies(services.settings)[IMAGE_UPLOAD]
        handler = self._run.handlers[IMAGE_UPLOAD]
        await work_off(self._run.surroundings, job, policy, lambda claimed: handler(claimed, free))
        free()


@pytest_asyncio.fixture
async def proxy(endpoint: str) -> AsyncIterator[FaultProxy]:
    async with fault_proxy(endpoint) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def stack(make_stack: MakeStack, origin: PictureOrigin, proxy: FaultProxy) -> AsyncIterator[Stack]:
    feed = bare_feed()
    show(feed, skus_of(feed)[0], [origin.put(f"/{number}", jpeg(number)) for number in range(PICTURES)])
    store = {
        "s3_endpoint_url": proxy.endpoint,
        "s3_bucket": BUCKET,
        "s3_access_key_id": ACCESS_KEY,
        "s3_secret_access_key": SECRET_KEY,
        "s3_region": "us-east-1",
    }
    async with make_stack(feed, concurrency_images=SLOTS, **store) as opened:
        yield opened


async def test_so_many_are_downloaded_while_the_store_takes_its_time_as_there_are_slots_and_again(
    monkeypatch: pytest.MonkeyPatch, stack: Stack, origin: PictureOrigin, proxy: FaultProxy
) -> None:
    """The store says nothing: what has a slot and what gave its slot away are under way, and no more, for good."""
    monkeypatch.setattr("app.sync.running.outcomes.OUTAGE_PAUSE_S", (0.05,))
    monkeypatch.setattr("app.sync.image.storing.PUT_WITHIN_S", 0.5)
    run = HeldRun(stack)
    jobs = await run.start()
    assert len(jobs) == PICTURES
    gate = Gate(run)
    async with serve([1_000.0]) as silent, asyncio.TaskGroup() as group:
        there, proxy.target = proxy.target, (silent.host, silent.port)
        for job in jobs:
            group.create_task(gate.work(job))
        await eventually(lambda: _put_again_and_again(silent))
        assert _asked(origin) == 2 * SLOTS, "an outage asks for no more, and for nothing twice"
        monkeypatch.setattr("app.sync.image.storing.PUT_WITHIN_S", 40.0)
        proxy.target = there
    assert _asked(origin) == PICTURES
    assert await stack.value("SELECT count(*) FROM addresses WHERE state = 'stored'") == PICTURES
    assert await stack.value("SELECT max(attempts) FROM jobs") == 0


def _asked(origin: PictureOrigin) -> int:
    return origin.asked.total()


async def _put_again_and_again(silent: RawServer) -> bool:
    return silent.connections >= 8 * 2 * SLOTS
