"""Ways to reach Redis: TLS, a password, a user who may not run the dangerous commands; and what is said otherwise."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
import pytest
from arq.jobs import deserialize_job_raw
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from app.errors import QueueUnavailable, SettingsError
from app.jobs import redis_pool
from app.jobs.definitions import IMAGE_UPLOAD
from app.jobs.messages import Exchanged, Message, unpack
from app.jobs.queue import RedisQueue
from app.sync.operating.by_hand import cancel_run, pause, resume, retry_failed
from tests.support.certificates import self_signed
from tests.support.stack import Servers, Stack
from tests.support.tls_terminator import tls_terminator
from tests.support.truth import assert_as_if_nothing_had_happened, assert_catalogue_equals_feed
from tests.support.waiting import eventually
from tests.support.worker_stack import until, worker_stack

# what BullMQ's and ARQ's users meet at managed servers
MANAGED = ["reset", "on", ">pw-of-app", "~*", "&*", "+@all", "-@dangerous"]


def password_of(servers: Servers) -> str:
    return urlsplit(servers.valkey.url).password or ""


@asynccontextmanager
async def a_user(servers: Servers, name: str, *rules: str) -> AsyncIterator[Servers]:
    """The same servers, reached as another user."""
    async with Redis.from_url(servers.valkey.url) as administrator:
        await administrator.execute_command("ACL", "SETUSER", name, *rules)
        url = f"redis://{name}:pw-of-app@127.0.0.1:{servers.valkey.port}/0"
        try:
            yield replace(servers, valkey=replace(servers.valkey, url=url))
        finally:
            await administrator.execute_command("ACL", "DELUSER", name)


async def test_a_whole_sync_through_tls(servers: Servers, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, "127.0.0.1")
    async with tls_terminator(certificate, servers.valkey.port) as port:
        url = f"rediss://:{password_of(servers)}@127.0.0.1:{port}/0?ssl_ca_certs={certificate}"
        async with worker_stack(servers, tmp_path, redis_url=url) as workers:
            workers.spawn_all()
            await workers.start()
            await workers.over()
            await assert_as_if_nothing_had_happened(workers.stack)


async def test_a_certificate_that_nobody_vouches_for_is_refused(servers: Servers, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, "127.0.0.1")
    async with tls_terminator(certificate, servers.valkey.port) as port:
        url = f"rediss://:{password_of(servers)}@127.0.0.1:{port}/0"
        refused = await told(url, SettingsError)
        assert "its certificate is not trusted (self-signed certificate): name the certificate" in refused
        assert "ssl_ca_certs=/path" in refused
        assert "ssl_cert_reqs=none takes any" in refused
        await fits(f"{url}?ssl_cert_reqs=none")
        await fits(f"{url}?ssl_ca_certs={certificate}")


async def test_a_worker_ends_at_a_certificate_that_nobody_vouches_for(servers: Servers, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, "127.0.0.1")
    async with tls_terminator(certificate, servers.valkey.port) as port, worker_stack(servers, tmp_path) as workers:
        worker = workers.spawn(IMAGE_UPLOAD, REDIS_URL=f"rediss://:{password_of(servers)}@127.0.0.1:{port}/0")
        assert await worker.exit_code() == 1
        assert "its certificate is not trusted" in worker.said().splitlines()[-1]


async def test_a_port_with_tls_and_one_without_are_told_apart(servers: Servers, tmp_path: Path) -> None:
    doors = "rediss:// is for a port with TLS, redis:// for one without"
    async with tls_terminator(self_signed(tmp_path, "127.0.0.1"), servers.valkey.port) as port:
        assert doors in await told(f"redis://:{password_of(servers)}@127.0.0.1:{port}/0", QueueUnavailable)
    assert doors in await told(servers.valkey.url.replace("redis:", "rediss:"), QueueUnavailable)


async def told(url: str, kind: type[Exception]) -> str:
    """What a worker's look at Redis ends with."""
    queue = RedisQueue(url, connect_timeout_s=1)
    try:
        with pytest.raises(kind) as raised:
            await queue.try_once()
    finally:
        await queue.close()
    assert f":{urlsplit(url).password}@" not in str(raised.value)
    return str(raised.value)


async def fits(url: str) -> None:
    queue = RedisQueue(url)
    await queue.try_once()
    await queue.close()


async def test_everything_works_for_a_user_without_the_dangerous_commands(servers: Servers, tmp_path: Path) -> None:
    """CASES.md B2."""
    async with (
        a_user(servers, "app", *MANAGED) as managed,
        worker_stack(servers, tmp_path, redis_url=managed.valkey.url, lease_s=2) as workers,
    ):
        services = workers.stack.services
        workers.stack.server.faults.add("picture", "status", status=404, times=1)
        workers.spawn_all()
        await pause(services, IMAGE_UPLOAD)
        await workers.start()
        await until(lambda: workers.stack.rows("SELECT 1 FROM jobs WHERE queue = 'image-upload'"))
        await resume(services, IMAGE_UPLOAD)
        await workers.over()
        workers.of(IMAGE_UPLOAD)[0].kill()
        workers.replace_dead()
        assert await retry_failed(services, IMAGE_UPLOAD) == 1
        await until(lambda: workers.stack.rows("SELECT 1 WHERE NOT EXISTS (SELECT FROM runs WHERE open_jobs > 0)"))
        await assert_catalogue_equals_feed(workers.stack)
        (one, _) = await workers.start(force=True)
        await cancel_run(services, one.run_id)
        await workers.over()


@pytest.mark.parametrize("command", ["zadd", "evalsha", "bzpopmin"])
async def test_a_missing_command_ends_the_start_with_its_name(servers: Servers, tmp_path: Path, command: str) -> None:
    async with (
        a_user(servers, f"no-{command}", *MANAGED, f"-{command}") as restricted,
        worker_stack(servers, tmp_path) as workers,
    ):
        worker = workers.spawn(IMAGE_UPLOAD, REDIS_URL=restricted.valkey.url)
        assert await worker.exit_code() == 1
        assert command in worker.said().splitlines()[-1]


async def test_a_wrong_password_is_said_with_what_to_do(servers: Servers) -> None:
    queue = RedisQueue(f"redis://:wrong@127.0.0.1:{servers.valkey.port}/0")
    with pytest.raises(QueueUnavailable, match="put the user and password into REDIS_URL") as raised:
        await queue.check()
    assert "wrong@" not in str(raised.value)
    await queue.close()


async def test_a_full_redis_refuses_a_sync_and_says_so(servers: Servers, tmp_path: Path) -> None:
    async with worker_stack(servers, tmp_path) as workers, Redis.from_url(servers.valkey.url) as administrator:
        await administrator.config_set("maxmemory", "1mb")
        try:
            with pytest.raises(QueueUnavailable, match="refuses writes"):
                await workers.start()
        finally:
            await administrator.config_set("maxmemory", "0")
        assert await workers.stack.rows("SELECT 1 FROM runs") == []


async def test_messages_are_msgpack_and_hold_ids_alone(servers: Servers) -> None:
    queue = RedisQueue(servers.valkey.url)
    await queue.redis.flushdb()
    await queue.send([Message("image-upload-1", IMAGE_UPLOAD, "run")])
    raw = await queue.redis.get("arq:job:image-upload-1")
    assert raw is not None
    assert set(msgspec.msgpack.decode(raw)) == {"t", "f", "a", "k", "et"}
    function, arguments, keywords, _, _ = deserialize_job_raw(raw, deserializer=unpack)
    assert (function, tuple(arguments), keywords) == ("settle_image", ("image-upload-1",), {})
    await queue.close()


async def test_what_is_no_redis_address_is_refused_by_name(servers: Servers, tmp_path: Path) -> None:
    async with worker_stack(servers, tmp_path) as workers:
        worker = workers.spawn(IMAGE_UPLOAD, REDIS_URL="http://127.0.0.1")
        assert await worker.exit_code() == 1
        assert "REDIS_URL" in worker.said()
        assert SettingsError.__name__ not in worker.said()


def measure(queue: RedisQueue) -> Coroutine[object, object, int]:
    return queue.length(IMAGE_UPLOAD)


def listen(queue: RedisQueue) -> Coroutine[object, object, Exchanged | None]:
    return queue.listen(IMAGE_UPLOAD, "nobody", lease_ms=1000, wait_s=0.01)


@pytest.mark.parametrize("asks", [measure, listen], ids=["one command", "two in one go"])
async def test_a_call_that_is_cancelled_ends_cancelled_in_whatever_moment(
    stack: Stack, asks: Callable[[RedisQueue], Coroutine[object, object, object]]
) -> None:
    """Python 3.11's wait_for, which redis-py sends through, returns normally in some of them (cpython gh-86296)."""
    queue = stack.services.queue
    assert queue is not None
    ended = Counter[bool]()
    for turns in [turns for turns in range(12) for _ in range(40)]:
        call = asyncio.create_task(asks(queue))
        for _ in range(turns):
            await asyncio.sleep(0)
        if not call.done():
            call.cancel()
            await asyncio.wait([call])
            ended[call.cancelled()] += 1
    assert ended[True] > 50
    assert ended[False] == 0
    assert await queue.length(IMAGE_UPLOAD) == 0, "what was cancelled left no answer for the next one"


async def test_what_the_server_closed_or_forgot_a_moment_ago_goes_unnoticed(servers: Servers) -> None:
    """The loop stands still meanwhile, as on a busy machine: that a connection was closed has not been read yet."""
    queue, name = RedisQueue(servers.valkey.url), f"closed-{uuid4()}"
    queue.redis.connection_pool.connection_kwargs["client_name"] = name
    for number in range(6):
        if number % 2:
            assert await listen(queue) is None
        else:
            assert (await queue.exchange(name, "token", lease_ms=1000, room=1, done=[], again=[])).ids == []
        with SyncRedis.from_url(servers.valkey.url) as administrator:
            (ours,) = [client for client in administrator.client_list() if client["name"] == name]
            administrator.client_kill_filter(_id=ours["id"])
            administrator.script_flush()
    assert await queue.length(name) == 0
    await queue.close()


async def test_what_a_busy_moment_opened_is_given_back(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host's Redis counts connections; redis-py's pool keeps the most that were ever in use at once."""
    monkeypatch.setattr(redis_pool, "LOOK_S", 0.2)
    queue = RedisQueue(servers.valkey.url, answer_timeout_s=60)
    async with Redis.from_url(servers.valkey.url) as watcher:
        name = f"busy-{uuid4()}"
        queue.redis.connection_pool.connection_kwargs["client_name"] = name
        lists = [f"{name}:{number}" for number in range(20)]
        busy = asyncio.gather(*(queue.redis.blpop([one], timeout=60) for one in lists))  # type: ignore[arg-type] # sync or async, says redis-py
        await eventually(lambda: _are_open(watcher, name, 20))
        for one in lists:
            await watcher.rpush(one, "over")
        await busy
        await eventually(lambda: _are_open(watcher, name, redis_pool.KEPT))
        await queue.check()
        await queue.close()
        await eventually(lambda: _are_open(watcher, name, 0))


async def _are_open(watcher: Redis, name: str, expected: int) -> bool:
    names: list[str] = [one["name"] for one in await watcher.client_list()]
    return names.count(name) == expected
