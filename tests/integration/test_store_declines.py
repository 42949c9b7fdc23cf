"""A picture that the store does not take is its own error; a store that takes none is an outage, at no cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.images.inspect import inspect_picture
from app.images.s3_errors import TOO_LARGE
from app.images.trial import TRIAL_KEY, TRIAL_PICTURE
from tests.conftest import MakeStack
from tests.support.fault_proxy import FaultProxy, declines, fault_proxy
from tests.support.picture_origin import PictureOrigin, bare_feed, jpeg, show, skus_of
from tests.support.s3_servers import ACCESS_KEY, BUCKET, SECRET_KEY, moto_server
from tests.support.stack import Stack


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    with moto_server() as endpoint:
        async with fault_proxy(endpoint) as proxy:
            yield proxy


@asynccontextmanager
async def showing(
    make_stack: MakeStack, origin: PictureOrigin, proxy: FaultProxy, pictures: int
) -> AsyncIterator[Stack]:
    """A supplier with one variant and so many pictures, no two of which are the same."""
    feed = bare_feed()
    show(feed, skus_of(feed)[0], [origin.put(f"/{number}", jpeg(number)) for number in range(pictures)])
    bucket: dict[str, Any] = {"s3_endpoint_url": proxy.endpoint, "s3_bucket": BUCKET, "s3_region": "us-east-1"}
    bucket |= {"s3_access_key_id": ACCESS_KEY, "s3_secret_access_key": SECRET_KEY}
    async with make_stack(feed, **bucket) as opened:
        yield opened


@pytest.fixture
async def stack(make_stack: MakeStack, origin: PictureOrigin, proxy: FaultProxy) -> AsyncIterator[Stack]:
    async with showing(make_stack, origin, proxy, pictures=6) as opened:
        yield opened


@pytest.fixture
def _declined_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.sync.image.storing.DECLINED_FOR_S", 0.2)
    monkeypatch.setattr("app.sync.running.outcomes.OUTAGE_PAUSE_S", (0.1,))


async def test_what_it_declines_while_it_is_well_fails_its_jobs_alone(stack: Stack, proxy: FaultProxy) -> None:
    proxy.strike("one-declined", says=declines("EntityTooLarge", 413))
    await stack.sync("A23")
    run = await stack.run("A23")
    assert (run["status"], run["images_failed"]) == ("completed_with_errors", 1)
    assert run["images_uploaded"] == 5, "the others went through"
    assert proxy.seen == 2, "the client does not try again what is refused so"
    (said,) = [problem["reason"] for problem in await stack.problems("A23") if problem["kind"] == "picture-not-stored"]
    assert TOO_LARGE in said
    assert "bytes" in said

    proxy.strike("none")
    await stack.sync("A23")
    assert (await stack.run("A23"))["status"] == "completed", "the next sync asks again for what failed"
    assert await stack.value("SELECT count(*) FROM addresses WHERE state <> 'stored'") == 0


async def test_what_it_declined_once_is_stored_at_the_second_try(stack: Stack, proxy: FaultProxy) -> None:
    proxy.strike("one-declined", times=1, says=declines("EntityTooLarge", 413))
    await stack.sync("A23")
    assert (await stack.run("A23"))["status"] == "completed"
    assert proxy.seen == 1


@pytest.mark.usefixtures("_declined_for_long")
@pytest.mark.parametrize(
    ("says", "told"),
    [
        (declines("InvalidObjectState", 403), "archived"),
        (declines("BadDigest", 400), "changed on the way"),
        (declines("WhoKnows", 403), "WhoKnows"),
        (declines("Conflict", 409), "Conflict"),
    ],
)
async def test_the_only_picture_that_it_does_not_take_fails_for_itself(
    make_stack: MakeStack, origin: PictureOrigin, proxy: FaultProxy, says: bytes, told: str
) -> None:
    """Nothing else was stored, so whether the store takes any is tried with a picture of ours, which goes again."""
    async with showing(make_stack, origin, proxy, pictures=1) as stack:
        proxy.strike("one-declined", says=says)
        await asyncio.wait_for(stack.sync("A23"), 20)
        (problem,) = await stack.problems("A23")
        assert problem["kind"] == "picture-not-stored"
        assert told in problem["reason"]
        assert [found.key async for found in stack.services.store.list_objects()] == []


@pytest.mark.usefixtures("_declined_for_long")
async def test_one_that_declines_each_and_does_not_say_why_is_an_outage(stack: Stack, proxy: FaultProxy) -> None:
    proxy.strike("declined")
    syncing = asyncio.create_task(stack.sync("A23"))
    async with asyncio.timeout(30):
        while proxy.seen < 5:  # noqa: ASYNC110  what is looked at is the proxy
            await asyncio.sleep(0.05)
    assert await stack.value("SELECT count(*) FROM jobs WHERE queue = 'image-upload' AND attempts > 0") == 0
    proxy.strike("none")
    await syncing
    assert (await stack.run("A23"))["status"] == "completed"


async def test_the_minute_of_a_picture_that_was_somebody_elses_meanwhile_begins_anew(
    make_stack: MakeStack, origin: PictureOrigin, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try here comes later after the one before than a picture is declined for, as if another process had it."""
    monkeypatch.setattr("app.sync.image.storing.DECLINED_FOR_S", 0.1)
    monkeypatch.setattr("app.sync.running.outcomes.OUTAGE_PAUSE_S", (0.3,))
    async with showing(make_stack, origin, proxy, pictures=1) as stack:
        proxy.strike("one-declined", times=3, says=declines("WhoKnows", 403))
        await asyncio.wait_for(stack.sync("A23"), 20)
        assert proxy.seen == 3
        assert (await stack.run("A23"))["status"] == "completed"


def test_what_is_put_to_try_the_store_is_a_picture_as_any() -> None:
    facts = inspect_picture(TRIAL_PICTURE, max_pixels=1)
    assert (facts.content_type, facts.extension) == ("image/gif", TRIAL_KEY.rpartition(".")[2])
    assert len(TRIAL_PICTURE) > 1_000
