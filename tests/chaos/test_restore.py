"""Drill: a dump of the middle of a sync is restored on another server, beside an empty Redis.

sync under way ─▶ pg_dump ─▶ it goes on for a while ─▶ all is lost ─┬▶ the same bucket: newer than the dump
                                                                    └▶ an empty bucket: all pictures are gone
pg_restore ─▶ doctor says what is missing ─▶ workers, `media verify --repair` ─▶ catalogue and store equal the feed
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.samplefeed import FeedSpec, SampleFeed
from app.settings import Settings
from app.sync.services import open_services
from tests.support.command_line import Ended, command, environment
from tests.support.databases import fresh_database
from tests.support.dumps import dump, restore
from tests.support.s3_servers import ACCESS_KEY, BUCKET, SECRET_KEY, rclone_server
from tests.support.stack import Servers, Stack, own_postgres, own_valkey
from tests.support.truth import assert_as_if_nothing_had_happened, assert_redis_forgets
from tests.support.worker_stack import Workers, environment_of, until, worker_stack

SAME, EMPTY = BUCKET, "empty"
STORED = "SELECT count(*) FROM media"
OPEN = "SELECT DISTINCT queue FROM jobs WHERE state IN ('waiting', 'active', 'delayed')"


def url_of(stack: Stack) -> str:
    assert stack.settings.database_url is not None
    return stack.settings.database_url.get_secret_value()


async def dump_in_the_middle(workers: Workers, file: Path) -> None:
    """Dump while documents and pictures are being fetched, and lose everything a little later."""
    stack = workers.stack
    stack.server.habits.latency_s = 1.5  # one document at a time: the supplier's job outlasts the first pictures
    workers.spawn_all()
    await workers.ready()
    await workers.start()
    await until(lambda: _is_in_the_middle(stack), 90)
    await dump(url_of(stack), file)
    stack.server.habits.latency_s = 0.1
    await until(lambda: _stored(stack, 60), 90)
    workers.stop()


async def _is_in_the_middle(stack: Stack) -> bool:
    under_way = {row["queue"] for row in await stack.rows(OPEN)}
    return await _stored(stack, 10) and {"supplier-sync", "image-upload"} <= under_way


async def _stored(stack: Stack, number: int) -> bool:
    return bool(await stack.value(STORED) >= number)


@asynccontextmanager
async def restored(servers: Servers, folder: Path, lost: Stack, file: Path, bucket: str) -> AsyncIterator[Workers]:
    """The dump in an empty database of another server, an empty Redis, and the bucket."""
    with own_valkey(servers, folder) as own:
        async with fresh_database(own.postgres.url, template="template0") as url:
            await restore(url, file)
            changed = {"database_url": url, "redis_url": own.valkey.url, "s3_bucket": bucket}
            settings = Settings.model_validate({**lost.settings.model_dump(exclude_unset=True), **changed})
            async with open_services(settings, store_at_once=True) as services:
                stack = Stack(services, settings, lost.feed, lost.server)
                workers = Workers(stack, folder, environment_of(settings))
                try:
                    yield workers
                finally:
                    workers.stop()


async def typed(workers: Workers, *arguments: str) -> Ended:
    """A command on the restored parts."""
    return await command(workers.folder, {**environment(), **workers.environment}, *arguments, "--json")


def wrong(doctor: Ended) -> dict[str, Any]:
    return {check["part"]: check for check in doctor.json["checks"] if not check["ok"]}


@pytest.mark.chaos
async def test_a_dump_of_the_middle_of_a_sync_comes_to_the_feed_on_another_server(
    servers: Servers, tmp_path: Path
) -> None:
    feed = SampleFeed(FeedSpec.small(count=1, families=24, variants=3, oddities=False))
    folders = {name: tmp_path / name for name in ("other", SAME, EMPTY, "s3", f"s3/{EMPTY}")}
    for folder in folders.values():
        folder.mkdir()
    with rclone_server(tmp_path / "s3") as endpoint:
        settings: dict[str, Any] = {"s3_endpoint_url": endpoint, "s3_bucket": SAME, "s3_region": "us-east-1"}
        settings |= {"s3_access_key_id": ACCESS_KEY, "s3_secret_access_key": SECRET_KEY}
        async with worker_stack(servers, tmp_path, feed, lease_s=2, concurrency_documents=1, **settings) as workers:
            await dump_in_the_middle(workers, file := tmp_path / "promidata.dump")
            async with own_postgres(servers, folders["other"]) as other:
                for bucket in (SAME, EMPTY):
                    async with restored(other, folders[bucket], workers.stack, file, bucket) as again:
                        await _comes_to_the_feed(again, bucket)


async def _comes_to_the_feed(again: Workers, bucket: str) -> None:
    stack = again.stack
    stack.server.habits.latency_s = 0.0
    before = await typed(again, "doctor")
    assert before.code == 1
    assert "no live worker" in wrong(before)["queues"]["found"]
    # changes of the last commits may be in the dump without their numbers, which a worker gives them
    assert set(wrong(before)) - {"queues", "dispatch", "changes"} == ({"pictures"} if bucket == EMPTY else set())
    again.spawn_all()
    if bucket == EMPTY:
        assert "media verify --repair" in wrong(before)["pictures"]["do"]
        mended = await typed(again, "media", "verify", "--repair")
        assert mended.code == 0, mended.json
    await again.over(90)
    await assert_as_if_nothing_had_happened(stack)
    await assert_redis_forgets(stack)
    after = await typed(again, "doctor")
    assert (after.code, wrong(after)) == (0, {})
