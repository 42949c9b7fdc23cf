"""A Redis that others use too: a prefix, a user limited to it, and a second installation on the same keys."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from app.cli.doctor import examine
from app.errors import QueueUnavailable, SettingsError
from app.jobs.definitions import IMAGE_UPLOAD, QUEUES
from app.jobs.messages import Message, text_of
from app.jobs.tenancy import Tenancy
from app.persistence.database import Database
from app.persistence.identity import database_identity
from app.persistence.migrations import migrate
from app.redis_keys import RedisKeys
from app.samplefeed import FeedSpec, SampleFeed
from app.settings import Settings, load_settings
from app.sync.installation import learn
from app.sync.services import open_services
from tests.integration.test_queue_connections import a_user
from tests.integration.test_stock_arq import arq_worker
from tests.support import troubles
from tests.support.databases import execute, fresh_database
from tests.support.stack import Servers, Stack, own_valkey
from tests.support.truth import assert_as_if_nothing_had_happened
from tests.support.worker_stack import Workers, until, worker_stack

PREFIX = "shop-a:"
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def small_feed() -> SampleFeed:
    return SampleFeed(FeedSpec.small(count=2, families=3, variants=2))


KEDAS_SCRIPT = """
local kind = redis.call('type', KEYS[1]).ok
if kind == 'zset' then return redis.call('zcard', KEYS[1]) end
return redis.call('llen', KEYS[1])
"""
"""What its redis scaler asks with, as far as rights go: an empty queue is no key, which it takes for a list."""


def documented_rules(user: str = "promidata") -> list[str]:
    """The ACL line of docs/operations.md."""
    (line,) = re.findall(rf"^ACL SETUSER {user} (.+)$", OPERATIONS.read_text(), re.MULTILINE)
    return str(line).replace(">SECRET", ">pw-of-app").split()


@asynccontextmanager
async def all_commands(servers: Servers) -> AsyncIterator[set[str]]:
    """Every key that any client names meanwhile, as MONITOR shows them."""
    seen: set[str] = set()
    async with Redis.from_url(servers.valkey.url) as redis, redis.monitor() as monitor:

        async def watch() -> None:
            async for command in monitor.listen():
                words = command["command"].split(" ")
                if command["client_type"] == "lua" or words[0].upper() in {"ZADD", "SET", "BZPOPMIN", "DEL", "GET"}:
                    seen.add(words[1] if len(words) > 1 else "")

        watching = asyncio.create_task(watch())
        try:
            yield seen
        finally:
            watching.cancel()
            await asyncio.wait([watching])


async def test_a_whole_sync_uses_no_key_outside_its_prefix(servers: Servers, tmp_path: Path) -> None:
    async with (
        worker_stack(servers, tmp_path, small_feed(), redis_prefix=PREFIX) as workers,
        all_commands(servers) as seen,
    ):
        workers.spawn_all()
        await workers.start()
        await workers.over()
        await assert_as_if_nothing_had_happened(workers.stack)
        named = {key for key in seen if key}
    assert {key for key in named if "arq:in-progress:" in key}
    assert {key for key in named if not key.startswith(PREFIX)} == set()


async def test_arqs_own_workers_keep_to_the_prefix(servers: Servers, tmp_path: Path) -> None:
    async with (
        worker_stack(servers, tmp_path, small_feed(), redis_prefix=PREFIX) as workers,
        all_commands(servers) as seen,
    ):
        with ExitStack() as running:
            for module in ("supplier", "family", "image"):
                running.enter_context(arq_worker(workers, tmp_path, module))
            await workers.start()
            await workers.over()
            await assert_as_if_nothing_had_happened(workers.stack)
        named = {key for key in seen if key}
    assert {key for key in named if not key.startswith(PREFIX)} == set()


@pytest.mark.parametrize("prefix", ["", PREFIX])
async def test_a_whole_sync_for_a_user_with_the_documented_rules(servers: Servers, tmp_path: Path, prefix: str) -> None:
    rules = [rule for rule in documented_rules() if not rule.startswith("~")]
    async with (
        a_user(servers, "minimal", *rules, *RedisKeys(prefix).patterns) as minimal,
        worker_stack(servers, tmp_path, small_feed(), redis_url=minimal.valkey.url, redis_prefix=prefix) as workers,
    ):
        workers.spawn_all()
        await workers.start()
        await workers.over()
        await assert_as_if_nothing_had_happened(workers.stack)


def test_the_documented_patterns_are_those_of_the_default_keys() -> None:
    assert [rule for rule in documented_rules() if rule.startswith("~")] == list(RedisKeys().patterns)


async def test_kedas_user_reads_how_long_queues_are_and_nothing_else(servers: Servers) -> None:
    async with (
        a_user(servers, "keda", *documented_rules("keda")) as reading,
        Redis.from_url(servers.valkey.url) as redis,
        Redis.from_url(reading.valkey.url) as keda,
    ):
        await redis.zadd(IMAGE_UPLOAD, {"a": 1, "b": 2})
        assert await keda.eval(KEDAS_SCRIPT, 1, IMAGE_UPLOAD) == 2
        await redis.delete(IMAGE_UPLOAD)
        assert [await keda.eval(KEDAS_SCRIPT, 1, name) for name in QUEUES] == [0, 0, 0]
        for forbidden in (keda.get(IMAGE_UPLOAD), keda.zadd(IMAGE_UPLOAD, {"a": 1}), keda.zcard("promidata:workers")):
            with pytest.raises(NoPermissionError):
                await forbidden


async def test_a_user_of_other_keys_is_refused_at_the_start_with_what_to_grant(
    servers: Servers, tmp_path: Path
) -> None:
    async with (
        a_user(servers, "other", "reset", "on", ">pw-of-app", "~other:*", "+@all") as other,
        worker_stack(servers, tmp_path) as workers,
    ):
        worker = workers.spawn(IMAGE_UPLOAD, REDIS_URL=other.valkey.url)
        assert await worker.exit_code() == 1
        last = worker.said().splitlines()[-1]
        assert "supplier-sync" in last
        assert "~product-family*" in last
        assert "REDIS_PREFIX" in last
        assert "Traceback" not in worker.said()
        settings = workers.stack.settings.model_copy(update={"redis_url": SecretStr(other.valkey.url)})
        async with open_services(settings) as services:
            assert services.queue is not None
            with pytest.raises(QueueUnavailable, match="~image-upload"):
                await services.queue.check()


async def test_one_key_that_may_not_be_touched_is_named(servers: Servers, tmp_path: Path) -> None:
    patterns = [pattern for pattern in RedisKeys().patterns if pattern != "~promidata:*"]
    async with (
        a_user(servers, "nearly", "reset", "on", ">pw-of-app", "+@all", *patterns) as nearly,
        worker_stack(servers, tmp_path) as workers,
    ):
        worker = workers.spawn(IMAGE_UPLOAD, REDIS_URL=nearly.valkey.url)
        assert await worker.exit_code() == 1
        assert "may not use the key promidata:" in worker.said().splitlines()[-1]


async def test_a_wrong_password_ends_a_worker_at_the_start(servers: Servers, tmp_path: Path) -> None:
    async with worker_stack(servers, tmp_path) as workers:
        worker = workers.spawn(IMAGE_UPLOAD, REDIS_URL=f"redis://:wrong-one@127.0.0.1:{servers.valkey.port}/0")
        assert await worker.exit_code() == 1
        assert "put the user and password into REDIS_URL" in worker.said().splitlines()[-1]
        assert "wrong-one" not in worker.said()


Opened = Callable[[str], AbstractAsyncContextManager[str]]


@asynccontextmanager
async def second_installation(
    first: Workers, servers: Servers, tmp_path: Path, prefix: str = "", opened: Opened = fresh_database
) -> AsyncIterator[tuple[Settings, Workers]]:
    """The same Redis and another database; `open_stack` would empty the Redis under the first one's feet."""
    folder = tmp_path / "second"
    folder.mkdir()
    async with opened(servers.postgres.url) as url:
        settings = first.stack.settings.model_copy(
            update={"database_url": SecretStr(url), "redis_prefix": prefix, "data_dir": folder}
        )
        environment = {**first.environment, "DATABASE_URL": url, "REDIS_PREFIX": prefix, "DATA_DIR": str(folder)}
        second = Workers(first.stack, folder, environment)
        try:
            yield settings, second
        finally:
            for worker in second.all:
                if worker.running:
                    worker.kill()


def schema_beside(first: Workers) -> Opened:
    """Opens a second schema of the database that the first installation has."""

    @asynccontextmanager
    async def opened(_: str) -> AsyncIterator[str]:
        url = first.environment["DATABASE_URL"]
        await execute(url, "CREATE SCHEMA shop")
        url = f"{url}?options=-csearch_path%3Dshop"
        database = Database(url)
        await migrate(database)
        await database.close()
        yield url

    return opened


@pytest.mark.parametrize("beside", [lambda _: fresh_database, schema_beside], ids=["database", "schema"])
async def test_a_second_installation_on_the_same_keys_is_refused_in_one_line(
    servers: Servers, tmp_path: Path, beside: Callable[[Workers], Opened]
) -> None:
    async with worker_stack(servers, tmp_path, small_feed()) as workers:
        workers.spawn_all()
        await workers.ready()
        async with second_installation(workers, servers, tmp_path, opened=beside(workers)) as (settings, second):
            worker = second.spawn(IMAGE_UPLOAD)
            assert await worker.exit_code() == 1
            last = worker.said().splitlines()[-1]
            assert "another installation" in last
            assert "REDIS_PREFIX" in last
            assert "Traceback" not in worker.said()
            async with open_services(settings) as services:
                assert services.queue is not None
                await learn(services.database, services.queue)
                await services.queue.hold()
                await until(lambda: _refuses(services.queue))
            found = {finding.part: finding for finding in await examine(settings)}
            assert not found["redis"].ok
            assert "REDIS_PREFIX" in found["redis"].found
            assert found["workers"].found.startswith("not known")
            assert "queues" not in found, "who works them off is not known"
        await workers.start()
        await workers.over()
        await assert_as_if_nothing_had_happened(workers.stack)


async def test_with_prefixes_two_installations_sync_side_by_side(servers: Servers, tmp_path: Path) -> None:
    async with AsyncExitStack() as opened:
        both = []
        for number, prefix in enumerate(("a:", "b:")):
            folder = tmp_path / str(number)
            folder.mkdir()
            both.append(
                await opened.enter_async_context(worker_stack(servers, folder, small_feed(), redis_prefix=prefix))
            )
        for workers in both:
            workers.spawn_all()
        for workers in both:
            await workers.ready()
        for workers in both:
            await workers.start()
        for workers in both:
            await workers.over()
            await assert_as_if_nothing_had_happened(workers.stack)
            said = "".join(worker.said() for worker in workers.all)
            assert "another installation" not in said
            assert "sent again" not in said


async def test_keys_of_an_installation_that_was_killed_are_taken_over(servers: Servers, tmp_path: Path) -> None:
    async with worker_stack(servers, tmp_path) as workers:
        worker = workers.spawn(IMAGE_UPLOAD)
        await workers.ready()
        worker.kill()
        async with second_installation(workers, servers, tmp_path) as (_, second):
            heir = second.spawn(IMAGE_UPLOAD)
            await second.ready([heir])


async def test_a_running_worker_whose_keys_are_anothers_takes_nothing_and_drops_nothing(
    servers: Servers, tmp_path: Path
) -> None:
    async with worker_stack(servers, tmp_path, small_feed()) as workers:
        ours = workers.spawn(IMAGE_UPLOAD)
        await workers.ready()
        queue = workers.stack.services.queue
        assert queue is not None
        key = queue.keys.installation

        async def the_other_lives() -> None:
            while True:
                await queue.redis.set(key, "another", px=10_000)
                await asyncio.sleep(0.3)

        other = asyncio.create_task(the_other_lives())
        await until(lambda: "Redis is not ours to use" in ours.said())
        await queue.send([Message("image-upload-others", IMAGE_UPLOAD, "run")])
        await asyncio.sleep(3)
        assert await queue.redis.exists(queue.keys.job("image-upload-others"))
        assert ours.said().count("Redis is not ours to use") == 1
        other.cancel()
        await queue.redis.delete(key)
        await until(lambda: "Redis is ours to use again" in ours.said())
        await until(lambda: _is_gone(queue.redis, queue.keys.job("image-upload-others")))


async def test_programs_of_the_release_before_and_of_today_know_each_other(stack: Stack) -> None:
    """Those of 0.1.0 hold the database's key alone, and take any other value of it for another installation."""
    queue, database = stack.services.queue, stack.services.database
    assert queue is not None
    async with database.read() as db:
        expected = await database_identity(db)
    await queue.redis.set(queue.keys.installation, expected, px=10_000)
    await learn(database, queue)
    for _ in range(2):
        await queue.hold()
        assert not queue.tenancy.foreign
        assert text_of(await queue.redis.get(queue.keys.installation)) == expected
        await queue.redis.delete(queue.keys.installation, queue.keys.schema)
    await queue.hold()
    await queue.let_go()
    assert not await queue.redis.exists(queue.keys.installation, queue.keys.schema)


def test_only_a_holder_that_renews_its_word_lives() -> None:
    tenancy = Tenancy("")
    seen = []
    for ours, left_ms in ((False, 5_000), (False, 4_000), (False, 10_000), (True, 10_000)):
        tenancy.note(left_ms, time.monotonic(), ours=ours)
        seen.append((tenancy.foreign, tenancy.alive))
    assert seen == [(True, False), (True, False), (True, True), (False, False)]


def test_an_answer_that_lay_unread_is_no_renewal() -> None:
    tenancy = Tenancy("")
    now = time.monotonic()
    tenancy.note(5_000, now, ours=False)
    tenancy.note(7_000, now - 3, ours=False)
    assert (tenancy.foreign, tenancy.alive) == (True, False)


def test_a_prefix_that_a_pattern_would_read_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PREFIX", "shop*")
    with pytest.raises(SettingsError, match="REDIS_PREFIX"):
        load_settings()


async def _refuses(queue: object) -> bool:
    try:
        await queue.check()  # type: ignore[attr-defined]
    except QueueUnavailable as error:
        return "REDIS_PREFIX" in str(error)
    return False


async def _is_gone(redis: Redis, key: str) -> bool:
    return not await redis.exists(key)


async def test_a_worker_whose_redis_is_away_says_so_once_and_once_when_it_is_back(
    servers: Servers, tmp_path: Path
) -> None:
    """Tens of looks at Redis, of its heart and of its chores fall into the ten seconds."""
    with own_valkey(servers, tmp_path) as own:
        async with worker_stack(own, tmp_path) as workers:
            worker = workers.spawn(IMAGE_UPLOAD)
            await workers.ready()
            await troubles.redis_down(own, tmp_path, for_s=10)
            await until(lambda: "a part of ours is back" in worker.said(), 60)
            told = [line for line in worker.said().splitlines() if "warning" in line or "is back" in line]
            assert len(told) == 2, told
