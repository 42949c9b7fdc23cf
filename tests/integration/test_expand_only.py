"""A release's migrations only add, so that programs of the release before it work on (decision 0026)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from app.persistence.database import Database
from app.persistence.migrations import alembic_config, migrate
from tests.support.databases import fresh_database
from tests.support.last_release import REVISION, TAG
from tests.support.schema_facts import Facts, broken_promises, schema_facts
from tests.support.stack import Servers

BREAKING = {
    "ALTER TABLE jobs DROP COLUMN error": "column jobs.error is gone",
    "ALTER TABLE jobs RENAME COLUMN error TO reason": "column jobs.error is gone",
    "ALTER TABLE jobs ADD COLUMN owner text NOT NULL": "column jobs.owner is new and needs a value",
    "ALTER TABLE jobs ALTER COLUMN attempts TYPE bigint": "column jobs.attempts was `",
    "ALTER TABLE jobs ALTER COLUMN error SET NOT NULL": "column jobs.error was `",
    "ALTER TABLE jobs ALTER COLUMN attempts DROP DEFAULT": "column jobs.attempts was `",
    "DROP TABLE idempotency_keys": "relation idempotency_keys is gone",
    "ALTER TABLE problems RENAME TO troubles": "relation problems is gone",
    "ALTER TABLE jobs ADD CHECK (attempts < 9)": "constraint jobs.jobs_attempts_check is new and needs to hold",
    "CREATE UNIQUE INDEX one_error ON jobs (error)": "index jobs.one_error is new and needs to hold",
    "DROP INDEX variants_by_ean": "index variants.variants_by_ean is gone",
    "DROP TRIGGER audit_stays ON audit": "trigger audit.audit_stays is gone",
}
ADDING = (
    "ALTER TABLE jobs ADD COLUMN note text, ADD COLUMN weight int NOT NULL DEFAULT 1",
    "CREATE TABLE minutes (at timestamptz PRIMARY KEY, number int NOT NULL UNIQUE)",
    "CREATE INDEX jobs_by_error ON jobs (error)",
)


@pytest.fixture(scope="module")
async def database(servers: Servers) -> AsyncIterator[Database]:
    """One with the release's schema."""
    async with fresh_database(servers.postgres.url, template="template0") as url:
        opened = Database(url)
        await migrate(opened, REVISION)
        yield opened
        await opened.close()


@pytest.fixture(scope="module")
async def released(database: Database) -> Facts:
    async with database.read() as db:
        return await schema_facts(db)


@pytest.mark.parametrize(("statement", "says"), [*BREAKING.items(), *((added, "") for added in ADDING)])
async def test_what_breaks_an_older_program_is_named_and_what_adds_is_not(
    database: Database, released: Facts, statement: str, says: str
) -> None:
    async with database.unlimited() as engine, engine.connect() as db:
        await db.execute(text(statement))
        found = broken_promises(released, await schema_facts(db))
        await db.rollback()
    assert any(line.startswith(says) for line in found) if says else found == []


async def test_the_migrations_after_the_last_release_only_add(database: Database, released: Facts) -> None:
    await migrate(database)
    async with database.read() as db:
        assert broken_promises(released, await schema_facts(db)) == []


def test_each_migration_after_the_last_release_says_that_programs_of_the_release_work_with_it() -> None:
    scripts = ScriptDirectory.from_config(alembic_config())
    known = {script.revision for script in scripts.walk_revisions(head=REVISION)}
    silent = [
        script.revision
        for script in scripts.walk_revisions()
        if script.revision not in known and getattr(script.module, "works_with", None) not in known
    ]
    assert silent == [], f"say works_with = {REVISION!r}, the newest revision of {TAG}"
