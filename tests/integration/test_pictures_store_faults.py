"""A sync whose object store is cut, changed, delayed or away: nothing corrupt is recorded, no attempt is spent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from app.images.store_s3 import open_s3_store
from app.sync.operating.media import verify_media
from tests.conftest import MakeStack
from tests.support.fault_proxy import Fault, FaultProxy, fault_proxy
from tests.support.picture_origin import PictureOrigin, bare_feed, jpeg, show, skus_of
from tests.support.raw_http import RawServer, answer, serve
from tests.support.s3_servers import ACCESS_KEY, BUCKET, SECRET_KEY, s3_settings
from tests.support.stack import Stack
from tests.support.waiting import eventually

Json = dict[str, Any]
PICTURES = 6
BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@pytest.fixture(autouse=True)
def _no_waits_between_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda _self, _context: 0.01)
    monkeypatch.setattr("app.sync.running.outcomes.OUTAGE_PAUSE_S", (0.1,))


@pytest_asyncio.fixture
async def proxy(endpoint: str) -> AsyncIterator[FaultProxy]:
    async with fault_proxy(endpoint) as proxy:
        yield proxy


def through(proxy: FaultProxy) -> Json:
    return {
        "s3_endpoint_url": proxy.endpoint,
        "s3_bucket": BUCKET,
        "s3_access_key_id": ACCESS_KEY,
        "s3_secret_access_key": SECRET_KEY,
        "s3_region": "us-east-1",
    }


@pytest_asyncio.fixture
async def stack(make_stack: MakeStack, origin: PictureOrigin, proxy: FaultProxy) -> AsyncIterator[Stack]:
    feed = bare_feed()
    urls = [origin.put(f"/{number}", jpeg(number, 200, 150)) for number in range(PICTURES)]
    show(feed, skus_of(feed)[0], urls)
    async with make_stack(feed, **through(proxy)) as opened:
        yield opened


async def assert_stored_unharmed(stack: Stack, origin: PictureOrigin, endpoint: str) -> None:
    """Every picture is recorded, with the origin's bytes in the store, read past the proxy."""
    recorded = await stack.rows(
        "SELECT a.url, m.key FROM addresses a JOIN media m ON m.id = a.media_id WHERE a.state = 'stored'"
    )
    assert len(recorded) == PICTURES
    async with open_s3_store(s3_settings(endpoint)) as honest:
        for row in recorded:
            assert await honest.get(row["key"]) == origin.bodies["/" + row["url"].rpartition("/")[2]]


async def assert_nobody_noticed(stack: Stack) -> None:
    run = await stack.run("A23")
    assert (run["status"], run["images_failed"], run["images_total"]) == ("completed", 0, PICTURES)
    assert run["images_uploaded"] + run["images_deduplicated"] == PICTURES
    assert await stack.value("SELECT max(attempts) FROM jobs") == 0
    assert await stack.problems("A23") == []


@pytest.mark.parametrize("fault", ["cut-request", "cut-answer", "reset", "change-request", "change-answer", "delay"])
async def test_a_store_that_harms_what_passes_is_an_outage_and_nothing_corrupt_is_recorded(
    stack: Stack, origin: PictureOrigin, proxy: FaultProxy, endpoint: str, fault: Fault
) -> None:
    proxy.strike(fault, times=12)
    await stack.sync()
    assert proxy.seen > 0
    await assert_nobody_noticed(stack)
    proxy.strike("none")
    await assert_stored_unharmed(stack, origin, endpoint)
    assert (await verify_media(stack.services)).is_whole


@pytest.mark.parametrize("silent", [False, True])
async def test_a_store_that_is_away_for_a_while_spends_no_attempt(
    monkeypatch: pytest.MonkeyPatch,
    stack: Stack,
    origin: PictureOrigin,
    proxy: FaultProxy,
    endpoint: str,
    silent: bool,
) -> None:
    """It answers 503, or takes what comes and says nothing. The family is saved meanwhile, its pictures follow."""
    monkeypatch.setattr("app.sync.image.storing.PUT_WITHIN_S", 0.5)
    async with serve([1_000.0] if silent else [answer(BUSY, status=503, Content_Type="application/xml")]) as busy:
        there, proxy.target = proxy.target, (busy.host, busy.port)
        syncing = asyncio.create_task(stack.sync())
        await eventually(lambda: _asked_again(busy))
        await eventually(lambda: stack.value("SELECT count(*) = 1 FROM variants WHERE status = 'active'"))
        assert not syncing.done()
        assert await stack.value("SELECT count(*) FROM media") == 0
        assert await stack.value("SELECT count(*) FROM addresses WHERE state <> 'pending'") == 0
        proxy.target = there
        monkeypatch.setattr("app.sync.image.storing.PUT_WITHIN_S", 40.0)  # the store that is back may be slow
        await syncing
    await assert_nobody_noticed(stack)
    await assert_stored_unharmed(stack, origin, endpoint)


async def _asked_again(busy: RawServer) -> bool:
    """Every picture was refused several times: more often than a job has attempts."""
    return busy.connections >= 5 * PICTURES
