"""DATABASE_POOL_SIZE is the connections of a process, all together, and what is idle is given back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text

from app.errors import ConnectionsRefused, DatabaseUnavailable
from app.persistence import builtin_types, idle, lending, statements
from app.persistence.database import Database
from app.persistence.failures import StatementRefused
from app.persistence.sessions import PipeliningSession, Session
from tests.support.databases import execute, fresh_database, opened
from tests.support.stack import Servers
from tests.support.wire import wire
from tests.support.worker_stack import until

ROLE = "narrow"


@pytest.fixture
async def url(servers: Servers) -> AsyncIterator[str]:
    async with fresh_database(servers.postgres.url) as url:
        yield url


@asynccontextmanager
async def limited(url: str, connections: int) -> AsyncIterator[str]:
    """The same database as a role that may have so many connections."""
    await execute(url, f"CREATE ROLE {ROLE} LOGIN PASSWORD 'narrow' CONNECTION LIMIT {connections}")
    parts = urlsplit(url)
    try:
        await execute(url, f"GRANT pg_read_all_data, pg_write_all_data TO {ROLE}")
        yield f"{parts.scheme}://{ROLE}:narrow@{parts.hostname}:{parts.port}{parts.path}"
    finally:
        await execute(url, f"DROP ROLE {ROLE}")


@asynccontextmanager
async def somebody_else(url: str, number: int) -> AsyncIterator[list[asyncpg.Connection]]:
    """Connections of another process."""
    plain = url.replace("postgresql+asyncpg://", "postgresql://")
    others = [await asyncpg.connect(plain) for _ in range(number)]
    try:
        yield others
    finally:
        for other in others:
            await other.close()


async def sessions(url: str) -> int:
    """How many sessions of ours the server has."""
    async with somebody_else(url, 1) as (other,):
        name = "promidata-sync"
        return int(await other.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", name))


async def test_all_kinds_of_use_together_have_no_more_connections_than_the_setting_says(url: str) -> None:
    most = 0
    async with opened(url, pool_size=3) as database:

        async def use(number: int) -> None:
            kind = (database.quick, database.begin, database.read)[number % 3]
            async with kind() as db:
                await db.execute(text("SELECT pg_sleep(0.02)"))

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(use(number)) for number in range(60)]
            while not all(task.done() for task in tasks):
                most = max(most, await sessions(url))
    assert most == 3


async def test_one_connection_is_enough_for_everything_at_once(url: str) -> None:
    async with opened(url, pool_size=1) as database, asyncio.timeout(20), asyncio.TaskGroup() as group:

        async def use(kind: Any) -> None:
            async with kind() as db:
                assert await db.scalar(text("SELECT 1")) == 1

        for _ in range(20):
            for kind in (database.quick, database.begin, database.read):
                group.create_task(use(kind))
            group.create_task(database.check())


async def test_what_is_idle_for_some_seconds_is_given_back(url: str) -> None:
    async with opened(url, pool_size=6) as database:

        async def use() -> None:
            async with database.begin() as db:
                await db.execute(text("SELECT pg_sleep(0.2)"))

        await asyncio.gather(*(use() for _ in range(6)))
        assert await sessions(url) == 4  # two of six are kept for what is quick
        began = time.monotonic()

        async def none() -> bool:
            return await sessions(url) == 0

        await until(none, 15)
        assert time.monotonic() - began > lending.IDLE_S / 2
        async with database.quick() as db:
            assert await db.scalar(text("SELECT 1")) == 1


async def test_the_last_one_used_is_lent_first_so_that_the_others_go(url: str) -> None:
    async with opened(url, pool_size=6) as database:
        pids = set()
        async with database.begin() as a, database.begin() as b:
            await a.execute(text("SELECT 1"))
            await b.execute(text("SELECT 1"))
        for _ in range(10):
            async with database.quick() as db:
                pids.add(await db.scalar(text("SELECT pg_backend_pid()")))
        assert len(pids) == 1


async def test_a_claim_does_not_wait_behind_ten_long_transactions(url: str) -> None:
    async with opened(url, pool_size=10) as database:

        async def transaction() -> None:
            async with database.begin() as db:
                await db.execute(text("SELECT pg_sleep(1.5)"))

        long = [asyncio.ensure_future(transaction()) for _ in range(10)]
        await asyncio.sleep(0.3)
        for _ in range(20):
            async with database.quick() as db:
                await db.execute(text("SELECT 1"))
        assert not any(task.done() for task in long)
        await asyncio.gather(*long)


async def test_who_waits_too_long_for_a_connection_is_told_so(url: str) -> None:
    async with opened(url, pool_size=1, wait_s=0.3) as database, database.begin() as db:
        await db.execute(text("SELECT 1"))
        with pytest.raises(DatabaseUnavailable, match="DATABASE_POOL_SIZE is 1"):
            async with database.quick():
                pass


async def test_each_kind_has_its_own_durability_and_the_servers_stays_the_servers(url: str) -> None:
    await execute(url, f"ALTER DATABASE {urlsplit(url).path[1:]} SET synchronous_commit TO local")
    shown = text("SHOW synchronous_commit")
    async with opened(url, pool_size=1) as database:
        for _ in range(2):
            async with database.quick() as db:
                assert await db.scalar(shown) == "off"
            async with database.begin() as db:
                assert await db.scalar(shown) == "local"
            with pytest.raises(StatementRefused):
                async with database.begin() as db:
                    await db.execute(text("SELECT 1 / 0"))
        async with database.unlimited() as engine, engine.connect() as alone:
            assert await alone.scalar(shown) == "local"


@pytest.mark.parametrize("pre_ping", [False, True])
async def test_neither_what_is_set_nor_asking_whether_it_lives_costs_a_round_trip(url: str, pre_ping: bool) -> None:
    async with wire(url) as counted, opened(counted.url, pool_size=1, pre_ping=pre_ping) as database:

        async def cost(kind: Any) -> int:
            before = counted.round_trips
            async with kind() as db:
                await db.execute(text("SELECT 1"))
            return counted.round_trips - before

        for kind in (database.quick, database.begin, database.read):
            await cost(kind)  # prepares the statement
        assert await cost(database.quick) == 1
        assert await cost(database.begin) == 2  # BEGIN goes with the statement
        assert await cost(database.read) == 2


@pytest.mark.parametrize("pooler", [False, True])
async def test_what_was_idle_for_long_is_asked_whether_it_lives_in_one_round_trip(
    url: str, pooler: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle, "TRUSTED_S", -1)
    options = {"pool_size": 1, "pre_ping": True, "transaction_pooler": pooler}
    async with wire(url) as counted, opened(counted.url, **options) as database:
        for kind in (database.read, database.begin, database.quick):
            async with kind() as db:
                pid = await db.scalar(text("SELECT pg_backend_pid()"))
            before = counted.round_trips
            async with kind():
                pass
            assert counted.round_trips - before == 1
        async with database.quick() as db:
            assert await db.scalar(text("SELECT pg_backend_pid()")) == pid


@pytest.mark.parametrize("kind", ["begin", "quick", "read"])
async def test_of_connections_that_do_not_live_any_more_none_is_lent(
    url: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that swallows a server's end: all look open, and the first that is asked tells of all."""
    asked = []

    async def as_if_cut_off(self: Session, query: str, *args: Any, **options: Any) -> Any:
        if query == statements.NOTHING:
            asked.append(self)
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        return await execute_as_ever(self, query, *args, **options)

    execute_as_ever = PipeliningSession.execute
    async with opened(url, pool_size=4, pre_ping=True) as database:
        async with database.begin(), database.begin(), database.quick():
            pass
        monkeypatch.setattr(PipeliningSession, "execute", as_if_cut_off)
        monkeypatch.setattr(idle, "TRUSTED_S", -1)
        async with getattr(database, kind)() as db:
            assert await db.scalar(text("SELECT 1")) == 1
        assert len(asked) == 1
        await until(lambda: _number_is(url, 1))


async def test_a_server_that_says_nothing_is_told_as_that_and_leaves_every_place_free(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was idle is asked and does not answer, and neither does the server for a new one."""
    monkeypatch.setattr(idle, "TRUSTED_S", -1)

    async def silent(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(60)

    async with opened(url, pool_size=2, pre_ping=True, wait_s=0.3) as database:
        async with database.begin():
            pass
        monkeypatch.setattr(PipeliningSession, "execute", silent)
        for _ in range(2):  # first the one that is idle, then a new one
            with pytest.raises(DatabaseUnavailable, match="did not answer within"):
                async with database.begin():
                    pass
        monkeypatch.undo()
        assert database._lender.use() == {"limit": 2, "open": 0, "used": 0, "waiting": 0}


async def _number_is(url: str, number: int) -> bool:
    return await sessions(url) == number


async def test_behind_a_pooler_what_is_set_costs_no_round_trip_either(url: str) -> None:
    async with wire(url) as counted, opened(counted.url, pool_size=1, transaction_pooler=True) as database:
        for kind in (database.quick, database.begin, database.read):
            async with kind() as db:
                await db.execute(text("SELECT 1"))
        before = counted.round_trips
        async with database.begin() as db:
            await db.execute(text("SELECT 1"))
        assert counted.round_trips - before == 3  # BEGIN with all that is set, the statement, COMMIT


async def test_a_server_at_its_limit_is_told_as_what_it_is(url: str) -> None:
    async with limited(url, 2) as narrow, somebody_else(narrow, 2), opened(narrow, pool_size=5, wait_s=0.5) as database:
        with pytest.raises(ConnectionsRefused) as told:
            await database.check()
    said = str(told.value)
    assert "CONNECTION LIMIT of the role" in said
    assert "0 of DATABASE_POOL_SIZE 5" in said
    assert "narrow:" not in said


async def test_a_server_at_its_limit_is_waited_for(url: str) -> None:
    async with limited(url, 1) as narrow, opened(narrow, pool_size=5) as database:
        async with somebody_else(narrow, 1):
            waiting = asyncio.ensure_future(database.check())
            await asyncio.sleep(0.5)
            assert not waiting.done()
        await asyncio.wait_for(waiting, 5)


async def test_at_the_limit_one_of_our_own_is_waited_for(url: str) -> None:
    async with limited(url, 3) as narrow, opened(narrow, pool_size=10) as database:

        async def use(kind: Any) -> None:
            async with kind() as db:
                await db.execute(text("SELECT pg_sleep(0.05)"))

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for _ in range(15):
                for kind in (database.quick, database.begin, database.read):
                    group.create_task(use(kind))


async def test_two_processes_that_want_more_than_there_is_both_go_on(url: str) -> None:
    async with limited(url, 4) as narrow, opened(narrow, pool_size=4) as one, opened(narrow, pool_size=4) as other:
        done = {one: 0, other: 0}

        async def use(database: Database) -> None:
            deadline = time.monotonic() + 6
            while time.monotonic() < deadline:
                async with database.quick() as db:
                    await db.execute(text("SELECT pg_sleep(0.01)"))
                done[database] += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(use(one))
            await asyncio.sleep(0.3)
            for _ in range(8):
                group.create_task(use(other))
        assert min(done.values()) > 20, list(done.values())


async def test_fifty_that_give_up_while_connecting_waiting_or_asking_leave_every_place_free(url: str) -> None:
    async with opened(url, pool_size=4) as database:

        async def use(kind: Any) -> None:
            async with kind() as db:
                await db.execute(text("SELECT pg_sleep(0.01)"))

        for number in range(50):
            askers = [asyncio.ensure_future(use(kind)) for kind in (database.quick, database.begin, database.read) * 3]
            await asyncio.sleep(number * 0.001)
            for asker in askers:
                asker.cancel()
            await asyncio.gather(*askers, return_exceptions=True)
        async with asyncio.timeout(5):
            async with database.begin(), database.begin(), database.quick(), database.quick():
                pass
        assert await sessions(url) <= 4


async def test_arrays_are_sent_and_read_without_asking_the_server_for_their_types(url: str) -> None:
    values = {
        "boolean": [True, False, None],
        "bytea": [b"\x00\xff"],
        "smallint": [-1],
        "integer": [2**31 - 1],
        "text": ["é", '"', None],
        "varchar": ["a,b"],
        "bigint": [2**63 - 1],
        "float8": [0.5],
        "timestamp": [datetime(2026, 11, 28, 1)],  # noqa: DTZ001  a type of its own, without a zone
        "timestamptz": [datetime(2026, 11, 28, 1, tzinfo=UTC)],
        "numeric": [Decimal("0.10")],
        "uuid": [UUID(int=7)],
        "json": ["1"],
        "jsonb": ["1"],
    }
    async with opened(url) as database, database.quick() as db:
        for name, value in values.items():
            echoed = await db.scalar(text(f"SELECT CAST(:value AS {name}[])"), {"value": value})
            assert echoed == (value if "json" not in name else [1]), name
        own = await db.execute(
            text("SELECT oid, typname, typelem FROM pg_type WHERE oid = ANY(CAST(:numbers AS bigint[]))"),
            {"numbers": list(builtin_types.ARRAYS)},
        )
        assert {row.oid: (row.typname, row.typelem) for row in own} == builtin_types.ARRAYS
        questions = text("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'WITH RECURSIVE%'")
        assert await db.scalar(questions) == 0
        await db.scalar(text("SELECT CAST(:value AS int4range[])"), {"value": []})
        assert await db.scalar(questions) == 1, "this test sees a question where there is one"
