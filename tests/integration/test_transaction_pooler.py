"""Behind a transaction pooler: nothing is kept in a session that another client gets next (docs/decisions/0010)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from app.errors import DatabaseMisfit
from app.persistence.database import Database
from app.persistence.lending import WRITING
from app.persistence.migrations import current_revision, migrate, newest_revision
from tests.support.api_client import ApiClient, api_at
from tests.support.api_process import api_process
from tests.support.databases import database_named, execute, fresh_database
from tests.support.pgbouncer import Pooler, pgbouncer
from tests.support.stack import Servers
from tests.support.truth import (
    assert_as_if_nothing_had_happened,
    assert_catalogue_equals_feed,
    assert_nothing_left_over,
    assert_redis_forgets,
    assert_store_equals_feed,
)
from tests.support.worker_stack import Workers, until, worker_stack

pytestmark = pytest.mark.pgbouncer

SETTINGS = ("idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout", "synchronous_commit")


@pytest.fixture
def pooler(servers: Servers) -> Iterator[Pooler]:
    with pgbouncer(servers.postgres.url) as running:
        yield running


@pytest.fixture
def lone_server(servers: Servers) -> Iterator[Pooler]:
    with pgbouncer(servers.postgres.url, servers=1) as running:
        yield running


@asynccontextmanager
async def pooled(pooler: Pooler, url: str, **options: Any) -> AsyncIterator[Database]:
    database = Database(pooler.url(url), transaction_pooler=True, **options)
    try:
        yield database
    finally:
        await database.close()


async def shown(db: Any) -> dict[str, str]:
    return {name: await db.scalar(text(f"SHOW {name}")) for name in SETTINGS}


async def test_every_kind_of_use_has_its_time_outs_and_leaves_none_to_the_next_client(
    servers: Servers, lone_server: Pooler
) -> None:
    async with fresh_database(servers.postgres.url) as url, pooled(lone_server, url) as database:
        name = urlsplit(url).path[1:]
        await execute(url, f"ALTER DATABASE {name} SET synchronous_commit TO local")
        await execute(url, f"ALTER DATABASE {name} SET default_transaction_isolation TO serializable")
        bounds = {"idle_in_transaction_session_timeout": "5s", "lock_timeout": "5s", "statement_timeout": "30s"}
        none = {"idle_in_transaction_session_timeout": "0", "lock_timeout": "0", "statement_timeout": "0"}
        async with database.begin() as db:
            assert await shown(db) == {**bounds, "synchronous_commit": "local"}
            assert await db.scalar(text("SHOW transaction_isolation")) == "read committed"
        async with database.quick() as db:
            assert await shown(db) == {**bounds, "synchronous_commit": "off"}
            assert await db.scalar(text("SHOW transaction_isolation")) == "read committed"
        async with database.read() as db:
            assert await shown(db) == {**bounds, "synchronous_commit": "local"}
        async with pooled(lone_server, url) as another, another._lender.lend("", WRITING) as raw, raw.begin():
            assert await shown(raw) == {**none, "synchronous_commit": "local"}
            assert await raw.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0


async def test_many_clients_on_few_servers_never_meet_each_others_statements(servers: Servers, pooler: Pooler) -> None:
    async with fresh_database(servers.postgres.url) as url, pooled(pooler, url, pool_size=10) as database:

        async def ask(number: int) -> None:
            kind = (database.quick, database.begin, database.read)[number % 3]
            async with kind() as db:
                for add in range(4):
                    sql = text(f"SELECT CAST(:n AS integer) + {add}, CAST(:names AS text[]), now(), '{{}}'::jsonb")
                    row = (await db.execute(sql, {"n": number, "names": ["a"]})).one()
                    assert (row[0], row[1], row[3]) == (number + add, ["a"], {})

        async with asyncio.TaskGroup() as group:
            for number in range(120):
                group.create_task(ask(number))


async def test_migrations_go_through_the_pooler(servers: Servers, pooler: Pooler) -> None:
    await execute(servers.postgres.url, "CREATE DATABASE migrated_by_a_pooler")
    url = database_named(servers.postgres.url, "migrated_by_a_pooler")
    try:
        async with pooled(pooler, url) as database:
            await migrate(database)
            assert await current_revision(database) == newest_revision()
    finally:
        await execute(servers.postgres.url, "DROP DATABASE migrated_by_a_pooler WITH (FORCE)")


async def test_options_of_the_address_hold_in_each_transaction(servers: Servers, pooler: Pooler) -> None:
    options = "?pgbouncer=true&options=-c%20search_path%3Dpg_catalog,public%20--work-mem%3D7MB"
    async with fresh_database(servers.postgres.url) as url:
        database = Database(pooler.url(url) + options)
        async with database.quick() as db:
            assert await db.scalar(text("SHOW search_path")) == "pg_catalog,public"
            assert await db.scalar(text("SHOW work_mem")) == "7MB"
        await database.close()


async def test_without_the_setting_a_pooler_is_told_as_what_it_is(servers: Servers, pooler: Pooler) -> None:
    async with fresh_database(servers.postgres.url) as url:
        database = Database(pooler.url(url))
        with pytest.raises(DatabaseMisfit, match="DATABASE_TRANSACTION_POOLER=true"):
            await database.check()
        await database.close()


@asynccontextmanager
async def four_processes(servers: Servers, folder: Path, pooler: Pooler) -> AsyncIterator[tuple[Workers, ApiClient]]:
    """API and three workers, all of them behind the pooler."""
    async with worker_stack(servers, folder) as workers:
        url = workers.stack.settings.database_url
        assert url is not None
        workers.standing = {
            "DATABASE_URL": pooler.url(url.get_secret_value()),
            "DATABASE_TRANSACTION_POOLER": "true",
        }
        workers.spawn_all()
        async with (
            api_process(folder, {**workers.environment, **workers.standing}) as (address, _),
            api_at(address) as api,
        ):
            yield workers, api


async def test_a_whole_sync_of_four_processes_on_six_servers(servers: Servers, tmp_path: Path, pooler: Pooler) -> None:
    async with four_processes(servers, tmp_path, pooler) as (workers, api):
        await api.post("/sync", expect=202)
        await workers.over()
        for path in ("/runs", "/products", "/changes", "/queues/stats", "/suppliers"):
            await api.get(path)
        await assert_as_if_nothing_had_happened(workers.stack)
        await assert_redis_forgets(workers.stack)


async def test_pause_cancel_and_retry_behind_a_pooler(servers: Servers, tmp_path: Path, pooler: Pooler) -> None:
    async with four_processes(servers, tmp_path, pooler) as (workers, api):
        stack = workers.stack
        await api.post("/queues/product-family/pause")
        await api.post("/sync", expect=202)
        await until(lambda: stack.rows("SELECT 1 FROM jobs WHERE queue = 'product-family' AND state = 'waiting'"))
        for run in (await api.get("/runs"))["items"]:
            await api.post(f"/runs/{run['id']}/cancel")
        assert "cancelled" in {run["status"] for run in await workers.over()}
        await api.post("/queues/product-family/resume")
        stack.server.faults.add("picture", "status", status=403)
        await api.post("/sync", expect=202)
        await workers.over()
        stack.server.faults.clear()
        failed = await stack.value("SELECT count(*) FROM jobs WHERE queue = 'image-upload' AND state = 'failed'")
        assert failed
        assert (await api.post("/queues/image-upload/retry-failed"))["retried"] == failed

        async def all_done() -> bool:
            return not await stack.rows("SELECT 1 FROM jobs WHERE state NOT IN ('completed', 'cancelled')")

        await until(all_done, 60)
        await assert_catalogue_equals_feed(stack)
        await assert_store_equals_feed(stack)
        await assert_nothing_left_over(stack)
