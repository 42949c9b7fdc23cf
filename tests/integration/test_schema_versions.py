"""A program that is older than the schema says so; one that its newest migration names works on (decision 0011)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app import VERSION
from app.errors import SchemaTooNew
from app.persistence.migrations import check_schema, current_revision, look_at_schema, migrate, newest_revision
from tests.support.api_client import api_client
from tests.support.command_line import command, environment_of, start
from tests.support.databases import execute
from tests.support.own_migrations import OwnMigrations
from tests.support.stack import Stack

NEWER = "UPDATE alembic_version SET version_num = '0099_of_tomorrow'"
WORKS = "COMMENT ON TABLE alembic_version IS '0099_of_tomorrow works with programs from {revision}'"
OLDER = "UPDATE alembic_version SET version_num = '0002'"


def url_of(stack: Stack) -> str:
    assert stack.settings.database_url is not None
    return stack.settings.database_url.get_secret_value()


@pytest.fixture
async def newer(stack: Stack) -> Stack:
    """A stack whose schema is of a version that came later."""
    await execute(url_of(stack), NEWER)
    return stack


@pytest.mark.parametrize(
    "arguments", [("migrate",), ("migrate", "--down-to", "base"), ("worker", "family"), ("api",)], ids=" ".join
)
async def test_an_older_program_says_so_in_one_line_at_once(
    newer: Stack, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    ended = await command(tmp_path, {**environment_of(newer), "PORT": "0"}, *arguments, timeout_s=30)
    (line,) = ended.err.splitlines()
    assert ended.code == 1
    assert "0099_of_tomorrow" in line
    assert VERSION in line
    assert "newer" in line
    assert await current_revision(newer.services.database) == "0099_of_tomorrow"


async def test_doctor_says_which_version_to_run(newer: Stack, tmp_path: Path) -> None:
    ended = await command(tmp_path, environment_of(newer), "doctor", "--json")
    (schema,) = [check for check in ended.json["checks"] if check["part"] == "schema"]
    assert (ended.code, schema["ok"]) == (1, False)
    assert "0099_of_tomorrow" in schema["found"]
    assert "run that version" in schema["do"]


async def test_an_older_program_works_where_the_newest_migration_says_so(newer: Stack) -> None:
    database = newer.services.database
    await execute(url_of(newer), WORKS.format(revision="0002"))
    with capture_logs() as logs:
        await check_schema(database)
        await migrate(database)
    assert {line["event"] for line in logs} == {"the schema is of a newer version, which this one works with"}
    assert await current_revision(database) == "0099_of_tomorrow"
    await execute(url_of(newer), WORKS.format(revision="0098_of_tomorrow_too"))
    with pytest.raises(SchemaTooNew):
        await check_schema(database)


async def test_what_another_revision_said_of_older_programs_does_not_count(newer: Stack) -> None:
    await execute(url_of(newer), WORKS.replace("0099", "0098").format(revision="0002"))
    with pytest.raises(SchemaTooNew):
        await check_schema(newer.services.database)


async def test_a_migration_notes_which_programs_work_on_it(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = newest_revision()
    own = OwnMigrations(tmp_path)
    own.add("9001", 'op.execute("CREATE TABLE added (id int)")', extra=f'works_with = "{before}"')
    database = stack.services.database
    with monkeypatch.context() as patched:
        own.use(patched)
        await migrate(database)
    found = await look_at_schema(database)
    assert (found.found, found.is_newer, found.works_with, found.fits) == ("9001", True, before, True)
    own.add("9002", 'op.execute("DROP TABLE added")')
    with monkeypatch.context() as patched:
        own.use(patched)
        await migrate(database)
    assert not (await look_at_schema(database)).fits


async def test_the_api_is_ready_once_the_schema_is_there_and_stays_so_while_it_moves_on(stack: Stack) -> None:
    url = url_of(stack)
    await execute(url, OLDER)
    async with api_client(stack.settings) as api:
        problem = await api.problem("GET", "//readyz", 503)
        assert problem.get("database") == "down", problem
        assert "promidata-sync migrate" in problem["detail"]
        await execute(url, f"UPDATE alembic_version SET version_num = '{newest_revision()}'")
        assert (await api.get("//readyz"))["database"] == "up"
        await execute(url, NEWER)
        assert (await api.get("//readyz"))["database"] == "up"


async def test_a_worker_waits_for_a_schema_that_is_still_older(stack: Stack, tmp_path: Path) -> None:
    await execute(url_of(stack), OLDER)
    worker = await start(tmp_path, environment_of(stack), "worker", "family")
    assert worker.stderr is not None
    async with asyncio.timeout(30):
        assert b"waiting for the schema" in await worker.stderr.readline()
    worker.terminate()
    await worker.wait()
