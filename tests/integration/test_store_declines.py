"""A picture that the store does not take is its own error; a store that takes none is an outage, at no cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.images.s3_errors import TOO_LARGE
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.s3_servers import ACCESS_KEY, BUCKET, SECRET_KEY, moto_server
from tests.support.stack import Servers, Stack, open_stack


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    with moto_server() as endpoint:
        async with fault_proxy(endpoint) as proxy:
            yield proxy


@pytest.fixture
async def stack(servers: Servers, tmp_path: Path, proxy: FaultProxy) -> AsyncIterator[Stack]:
    bucket: dict[str, Any] = {"s3_endpoint_url": proxy.endpoint, "s3_bucket": BUCKET, "s3_region": "us-east-1"}
    bucket |= {"s3_access_key_id": ACCESS_KEY, "s3_secret_access_key": SECRET_KEY}
    async with open_stack(servers, tmp_path, **bucket) as opened:
        yield opened


async def test_what_it_declines_while_it_is_well_fails_its_jobs_alone(stack: Stack, proxy: FaultProxy) -> None:
    proxy.strike("too-large")
    await stack.sync("A23")
    run = await stack.run("A23")
    assert (run["status"], run["images_failed"]) == ("completed_with_errors", 1)
    assert run["images_uploaded"] > 1, "the others went through"
    assert proxy.seen == 2, "the client does not try again what is refused so"
    (said,) = [problem["reason"] for problem in await stack.problems("A23") if problem["kind"] == "picture-not-stored"]
    assert TOO_LARGE in said
    assert "bytes" in said

    proxy.strike("none")
    await stack.sync("A23")
    assert (await stack.run("A23"))["status"] == "completed", "the next sync asks again for what failed"
    assert await stack.value("SELECT count(*) FROM addresses WHERE state <> 'stored'") == 0


async def test_what_it_declined_once_is_stored_at_the_second_try(stack: Stack, proxy: FaultProxy) -> None:
    proxy.strike("too-large", times=1)
    await stack.sync("A23")
    assert (await stack.run("A23"))["status"] == "completed"
    assert proxy.seen == 1


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
