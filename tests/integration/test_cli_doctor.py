"""`promidata-sync doctor` on systems in which something drifted: it names what, and says what to do."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import SecretStr
from redis import Redis as SyncRedis
from sqlalchemy import text

from app.cli.doctor import examine
from app.coordination.heartbeats import WorkerBeat, write_beat
from app.jobs.definitions import QUEUES
from app.jobs.messages import Message
from app.persistence.drift import QueueLoad
from app.redis_keys import DEFAULT_KEYS
from app.settings import Settings
from app.sync.operating.by_hand import pause
from app.sync.operating.doctor import Finding, judge_queues
from app.sync.operating.start import StartRequest, start_queued
from tests.conftest import MakeStack
from tests.support.certificates import self_signed
from tests.support.command_line import command, environment_of
from tests.support.ledger_rows import add_jobs, add_run
from tests.support.listening import listening
from tests.support.stack import Servers, Stack, own_valkey
from tests.support.tls_terminator import tls_terminator

EVERYTHING = [
    "database",
    "schema",
    "redis",
    "workers",
    "queues",
    "dispatch",
    "runs",
    "changes",
    "store",
    "pictures",
    "feed",
]


READ_ONLY = "default_transaction_read_only"


async def found_by(stack: Stack) -> dict[str, Finding]:
    return await found_of(stack.settings)


async def found_of(settings: Settings) -> dict[str, Finding]:
    return {finding.part: finding for finding in await examine(settings)}


async def change(stack: Stack, statement: str) -> None:
    async with stack.services.database.begin() as db:
        await db.execute(text(statement))


def redis_of(stack: Stack) -> SyncRedis:
    assert stack.settings.redis_url is not None
    return SyncRedis.from_url(stack.settings.redis_url.get_secret_value())


def beat(queue: str) -> WorkerBeat:
    now = datetime.now(UTC).isoformat()
    return WorkerBeat(f"w-{queue}", queue, "here", os.getpid(), now, now, 1, 0)


@pytest.fixture
async def working(stack: Stack) -> Stack:
    """A system that has synced, with a worker a queue that lives as long as the test, however slow that is."""
    await stack.sync()
    with redis_of(stack) as redis:
        for queue in QUEUES:
            write_beat(redis, beat(queue))
            redis.persist(DEFAULT_KEYS.worker(f"w-{queue}"))
    return stack


async def test_a_system_that_works_has_every_part_and_nothing_wrong(working: Stack, tmp_path: Path) -> None:
    ended = await command(tmp_path, environment_of(working), "doctor", "--json")
    assert ended.code == 0, ended
    assert [check["part"] for check in ended.json["checks"]] == EVERYTHING
    found = {check["part"]: check["found"] for check in ended.json["checks"]}
    assert found["workers"] == "supplier-sync 1, product-family 1, image-upload 1"
    assert found["queues"] == "0 jobs to do"
    assert found["pictures"].startswith("the store has all of ")
    assert not found["pictures"].startswith("the store has all of 0")


async def test_a_worker_that_ended_without_a_word_is_seen_once(working: Stack) -> None:
    with redis_of(working) as redis:
        redis.delete(DEFAULT_KEYS.worker("w-image-upload"))
    workers = (await found_by(working))["workers"]
    assert not workers.ok
    assert workers.found == "supplier-sync 1, product-family 1, image-upload 0; 1 ended without a word"
    assert workers.do == "start the missing ones: `promidata-sync worker image`"


async def test_a_worker_that_waits_for_a_part_of_ours_is_named_with_what_that_part_says(working: Stack) -> None:
    """The store may pass each check of doctor's and take no picture."""
    declined = {"the object store": "cannot write to bucket b: the object store answered 400"}
    with redis_of(working) as redis:
        write_beat(redis, replace(beat("image-upload"), waits_for=declined))
    workers = (await found_by(working))["workers"]
    assert not workers.ok
    assert "image-upload 1; image-upload waits for the object store: cannot write to bucket b: " in workers.found
    assert "no attempt" in workers.do


async def test_jobs_that_nobody_will_do_are_named_with_the_queue(stack: Stack, tmp_path: Path) -> None:
    run_id = await add_run(stack, status="running")
    await add_jobs(stack, run_id, queue="product-family", state="waiting", count=2)
    await add_jobs(stack, run_id, queue="image-upload", state="waiting", count=3)
    await pause(stack.services, "image-upload")
    ended = await command(tmp_path, environment_of(stack), "doctor")
    assert ended.code == 1
    said = " ".join(ended.out.split())
    assert "image-upload is paused while 3 jobs wait" in said
    assert "product-family has 2 jobs and no live worker" in said
    assert "`promidata-sync resume image-upload`" in said
    assert "`promidata-sync worker family`" in said


def test_a_paused_queue_without_jobs_is_said_and_not_wrong() -> None:
    finding = judge_queues([QueueLoad("image-upload", paused=True, due=0)], Counter())
    assert finding.ok
    assert "image-upload is paused" in finding.found
    assert "resume image-upload" in finding.do


async def test_open_jobs_that_redis_does_not_know_are_counted_once_they_had_time_to_arrive(working: Stack) -> None:
    await start_queued(working.services, StartRequest())
    with redis_of(working) as redis:
        redis.delete("supplier-sync")
    assert (await found_by(working))["dispatch"].ok
    await change(working, "UPDATE jobs SET dispatched_at = now() - interval '1 minute'")
    dispatch = (await found_by(working))["dispatch"]
    assert not dispatch.ok
    assert dispatch.found == "Redis does not know 2 of the ledger's open jobs"
    assert "live worker" in dispatch.do


async def test_ids_that_redis_queues_and_the_ledger_holds_closed_are_counted(working: Stack) -> None:
    run_id = await add_run(working)
    (job,) = await add_jobs(working, run_id, queue="image-upload", state="completed")
    assert working.services.queue is not None
    await working.services.queue.send(
        [Message(job, "image-upload", run_id), Message("image-upload-gone", "image-upload", run_id)]
    )
    assert "1 job that is over" in (await found_by(working))["dispatch"].found, "one ended just now"
    await change(working, f"UPDATE jobs SET finished_at = now() - interval '1 minute' WHERE id = '{job}'")
    dispatch = (await found_by(working))["dispatch"]
    assert not dispatch.ok
    assert dispatch.found == "Redis queues 2 jobs that are over in the ledger"


async def test_a_run_whose_books_do_not_balance_is_named(working: Stack) -> None:
    (started, _) = await start_queued(working.services, StartRequest())
    await change(working, f"UPDATE runs SET open_jobs = 5 WHERE id = '{started.run_id}'")
    runs = (await found_by(working))["runs"]
    assert not runs.ok
    assert runs.found == f"run {started.run_id} counts 5 open jobs and has 1"
    assert "cancel" in runs.do


A23 = "SELECT id FROM suppliers WHERE code = 'A23'"
AGE = """
UPDATE runs SET created_at = now() - interval '2 hours', started_at = now() - interval '2 hours';
UPDATE jobs SET created_at = now() - interval '2 hours', run_at = now() - interval '2 hours',
    started_at = now() - interval '2 hours', finished_at = NULL;
UPDATE documents SET fetched_at = now() - interval '2 hours'"""


async def test_a_run_in_which_nothing_moves_is_named_and_one_that_moves_is_not(working: Stack) -> None:
    (first, second) = await start_queued(working.services, StartRequest())
    assert (await found_by(working))["runs"].found == "2 under way, their books balance"
    for statement in AGE.split(";"):
        await change(working, statement)
    runs = (await found_by(working))["runs"]
    assert not runs.ok
    assert f"run {first.run_id} of A23: nothing has moved for 120 min, open in supplier-sync" in runs.found
    await change(working, f"UPDATE runs SET status = 'running' WHERE id = '{first.run_id}'")
    await change(working, f"UPDATE documents SET fetched_at = now() WHERE supplier_id = ({A23})")
    assert (await found_by(working))["runs"].ok, f"{second.run_id} waits for its turn"


async def test_changes_without_a_number_are_found_when_they_are_old(working: Stack) -> None:
    await change(working, "UPDATE changes SET seq = NULL, at = now() WHERE id = (SELECT max(id) FROM changes)")
    assert (await found_by(working))["changes"].ok
    await change(working, "UPDATE changes SET at = now() - interval '1 minute' WHERE seq IS NULL")
    changes = (await found_by(working))["changes"]
    assert not changes.ok
    assert changes.found.startswith("1 changes have no number, the oldest for 6")


async def test_a_picture_that_the_store_lost_or_cut_is_found(working: Stack) -> None:
    files = [path for path in (working.settings.data_dir / "media").rglob("*") if path.is_file()]
    for path in files[1:]:
        path.unlink()
    files[0].write_bytes(b"cut")
    pictures = (await found_by(working))["pictures"]
    assert not pictures.ok
    number = pictures.found.split()[0]
    assert pictures.found.startswith(f"{number} of {number} that were looked for are not in the store")
    assert "media verify" in pictures.do


@pytest.mark.parametrize(
    ("rules", "found", "do"),
    [
        ({"maxmemory-policy": "allkeys-lru"}, "maxmemory-policy is allkeys-lru", "set maxmemory-policy to noeviction"),
        ({"maxmemory": "1"}, "it refuses writes", "more memory"),
        ({"replicaof": "127.0.0.1 9"}, "it refuses writes", "primary"),
        ({"min-replicas-to-write": "1"}, "it refuses writes", "lower its min-replicas-to-write"),
    ],
)
async def test_a_redis_that_will_not_do_is_named_with_what_to_do(
    make_stack: MakeStack, servers: Servers, tmp_path: Path, rules: dict[str, str], found: str, do: str
) -> None:
    with own_valkey(servers, tmp_path / "own") as own:
        async with make_stack(redis_url=own.valkey.url) as stack:
            with SyncRedis.from_url(own.valkey.url) as redis:
                for name, value in rules.items():
                    if name == "replicaof":
                        redis.execute_command("REPLICAOF", *value.split())
                    else:
                        redis.config_set(name, value)
            redis_found = (await found_by(stack))["redis"]
    assert not redis_found.ok
    assert found in redis_found.found
    assert do in redis_found.do


def fail_to_save(redis: Any) -> None:
    """Have it write a snapshot to where a folder is."""
    redis.config_set("save", "3600 1")
    where = redis.execute_command("CONFIG GET", "dir", "dbfilename")
    Path(where["dir"], where["dbfilename"]).mkdir()
    redis.bgsave()
    while redis.execute_command("INFO")["rdb_last_bgsave_status"] == "ok":
        time.sleep(0.05)


async def test_a_redis_that_cannot_save_is_named_with_what_to_do(
    make_stack: MakeStack, servers: Servers, tmp_path: Path
) -> None:
    """It refuses writes from the first snapshot on that it could not write."""
    with own_valkey(servers, tmp_path / "own") as own:
        async with make_stack(redis_url=own.valkey.url) as stack:
            with SyncRedis.from_url(own.valkey.url) as redis:
                fail_to_save(redis)
            redis_found = (await found_by(stack))["redis"]
    assert "it refuses writes (MISCONF" in redis_found.found
    assert "make room" in redis_found.do


async def test_a_certificate_of_redis_that_nobody_vouches_for_is_named_with_what_to_do(
    make_stack: MakeStack, servers: Servers, tmp_path: Path
) -> None:
    async with tls_terminator(self_signed(tmp_path, "127.0.0.1"), servers.valkey.port) as port:
        url = servers.valkey.url.replace("redis:", "rediss:").replace(f":{servers.valkey.port}/", f":{port}/")
        async with make_stack(redis_url=url) as stack:
            redis_found = (await found_by(stack))["redis"]
    assert "its certificate is not trusted" in redis_found.found
    assert "ssl_ca_certs of REDIS_URL" in redis_found.found
    assert redis_found.do == ""


async def test_a_redis_that_does_not_tell_of_its_memory_is_fine(make_stack: MakeStack, servers: Servers) -> None:
    with SyncRedis.from_url(servers.valkey.url) as redis:
        redis.execute_command("ACL", "SETUSER", "silent", "on", ">pw", "~*", "&*", "+@all", "-@dangerous")
        try:
            async with make_stack(redis_url=f"redis://silent:pw@127.0.0.1:{servers.valkey.port}/0") as stack:
                found = await found_by(stack)
        finally:
            redis.execute_command("ACL", "DELUSER", "silent")
    assert found["redis"].ok, found["redis"]
    assert found["dispatch"].ok, found["dispatch"]


@asynccontextmanager
async def a_redis_of_version(hello: bytes) -> AsyncIterator[int]:
    """A server that answers HELLO with this and takes writes; gives its port."""
    known = {b"HELLO": hello, b"PING": b"+PONG\r\n", b"SET": b"+OK\r\n"}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            words = [await _word(reader) for _ in range(int(head[1:]))]
            writer.write(known.get(words[0], b"-ERR unknown command\r\n"))
        writer.close()

    async with listening(serve) as port:
        yield port


async def _word(reader: asyncio.StreamReader) -> bytes:
    length = int((await reader.readline())[1:])
    return (await reader.readexactly(length + 2))[:-2]


async def test_a_database_that_takes_no_writes_is_named_with_what_to_do(stack: Stack) -> None:
    await change(stack, f"ALTER DATABASE {await stack.value('SELECT current_database()')} SET {READ_ONLY} = on")
    found = await found_by(stack)
    for part in (found["database"], found["schema"]):
        assert not part.ok
        assert "read-only" in part.found
        assert "name all hosts in DATABASE_URL, with target_session_attrs=read-write" in part.found
        assert f"where its host set {READ_ONLY}, as at a quota, raise that, then set it off" in part.found
        assert part.do == ""


async def test_a_right_that_is_missing_is_named_with_what_to_grant(stack: Stack) -> None:
    await change(stack, "CREATE ROLE guest LOGIN PASSWORD 'guest'")
    await change(stack, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest")
    url = stack.settings.database_url
    assert url is not None
    place = url.get_secret_value().rpartition("@")[2]
    guest = SecretStr(f"postgresql+asyncpg://guest:guest@{place}")
    try:
        schema = await found_of(stack.settings.model_copy(update={"database_url": guest}))
    finally:
        await change(stack, "DROP OWNED BY guest")
        await change(stack, "DROP ROLE guest")
    assert "GRANT SELECT, INSERT, UPDATE, DELETE ON these tables TO guest" in schema["schema"].found
    assert schema["schema"].do == ""


async def test_a_search_path_that_leads_nowhere_is_no_call_to_migrate(stack: Stack) -> None:
    url = stack.settings.database_url
    assert url is not None
    nowhere = SecretStr(f"{url.get_secret_value()}?options=-csearch_path%3Dnone")
    schema = (await found_of(stack.settings.model_copy(update={"database_url": nowhere})))["schema"]
    assert "none of the schemas in its search_path is there for this user" in schema.found
    assert schema.do == ""


@pytest.mark.parametrize(
    ("hello", "found"),
    [
        (b"*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n6.0.16\r\n", "redis 6.0.16 is too old"),
        (b"-ERR unknown command `HELLO`\r\n", "older than 6.0 is too old"),
    ],
)
async def test_a_redis_that_is_too_old_is_named(make_stack: MakeStack, hello: bytes, found: str) -> None:
    async with a_redis_of_version(hello) as port, make_stack(redis_url=f"redis://127.0.0.1:{port}/0") as stack:
        redis_found = (await found_by(stack))["redis"]
    assert (redis_found.ok, redis_found.found) == (False, found)
    assert redis_found.do == "use Redis 6.2 or newer, or Valkey"
