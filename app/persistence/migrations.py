"""The schema: bring it up to date, or wait until somebody has.

Alembic holds the migrations; they run over a connection of ours, one process at a time. It is imported when it is
needed: a worker whose schema is the newest, told by the names of the migrations, starts without it.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text
from structlog import get_logger

from app import VERSION
from app.errors import DatabaseMisfit, DatabaseUnavailable, SchemaTooNew
from app.persistence.database import Database
from app.persistence.migrating import run_alone

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext, MigrationInfo
    from alembic.script import ScriptDirectory

log = get_logger()

PACKAGED = Path(__file__).resolve().with_name("_alembic")
CLONED = Path(__file__).resolve().parents[2] / "alembic"
WAIT_S = 60
OLDEST_SERVER = 160000
"""PostgreSQL 16, as `server_version_num` counts."""
WORKS_WITH = "works with programs from"
WHERE = """
SELECT current_setting('server_encoding') AS encoding, current_schema() AS place,
    to_regclass('alembic_version') IS NOT NULL AS has_schema
"""
ENCODINGS = ("UTF8", "SQL_ASCII")
"""What has room for every character; SQL_ASCII keeps the bytes as they come, and what doctor says of it is enough."""
TOO_NARROW = (
    "its encoding is {}, which has no room for every character of the feed: create one in UTF8 (createdb -E UTF8 "
    "-T template0 ...), bring over what there is with pg_dump and pg_restore, and name it in DATABASE_URL"
)
NOWHERE = (
    "none of the schemas in its search_path is there for this user: "
    "create one (CREATE SCHEMA ... AUTHORIZATION ...), or correct search_path, as in options of DATABASE_URL"
)
STORED = "SELECT version_num, obj_description('alembic_version'::regclass, 'pg_class') AS note FROM alembic_version"


def alembic_config() -> Config:
    """Alembic's configuration, wherever the process was started: an installed wheel carries the migrations within.

    In a clone they are in `alembic/` at the top level, where Alembic's own command finds them through `alembic.ini`.
    """
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_folder()).replace("%", "%%"))
    return config


def _folder() -> Path:
    return PACKAGED if PACKAGED.is_dir() else CLONED


def newest_by_name() -> str:
    """The newest revision, from the names of the migrations alone: `0007_odd_lines.py` is 0007."""
    return max((path.name.partition("_")[0] for path in (_folder() / "versions").glob("[0-9]*_*.py")), default="")


def _scripts() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(alembic_config())


async def migrate(database: Database, revision: str = "head") -> None:
    """Bring the schema to `revision`; several at once leave one schema, and the others wait.

    Raises:
        DatabaseMisfit: there is no place for tables, or its encoding is too narrow.
        DatabaseUnavailable: PostgreSQL is away, or older than 16.
        SchemaTooNew: the schema is of a newer version, which this one does not work with.
    """
    schema = await look_at_schema(database)
    if schema.is_newer:
        schema.refuse_or_warn()
        return

    from alembic import command

    def run(connection: Connection) -> None:
        version = int(connection.scalar(text("SHOW server_version_num")) or 0)
        if version < OLDEST_SERVER:
            raise DatabaseUnavailable(f"PostgreSQL {version // 10000} is too old: 16 or newer is needed")
        connection.commit()
        config = alembic_config()
        config.attributes["connection"] = connection
        (command.downgrade if revision == "base" else command.upgrade)(config, revision)

    await run_alone(database, run)


@dataclass(frozen=True, slots=True)
class Schema:
    """Where the database's schema is, seen from this program."""

    found: str | None
    """Its revision; None when there is none yet."""
    wanted: str
    """The revision that this program is made for."""
    known: frozenset[str]
    works_with: str | None
    """The oldest revision whose programs work on this schema, where its newest migration says so."""

    @property
    def fits(self) -> bool:
        """Whether this program can work on it."""
        return self.found == self.wanted or (self.is_newer and self.works_with in self.known)

    @property
    def is_newer(self) -> bool:
        """Whether it is of a version that came after this one."""
        return self.found is not None and self.found not in self.known

    def refuse_or_warn(self) -> None:
        """Say that a newer schema is there, once, and go on where it works with this program.

        Raises:
            SchemaTooNew: it does not.
        """
        if not self.fits:
            raise SchemaTooNew(
                f"the schema is at {self.found}, which this version ({VERSION}) does not know: it is of a newer one; "
                "run that, or restore the database from before the upgrade"
            )
        log.warning("the schema is of a newer version, which this one works with", found=self.found, known=self.wanted)

    def explain(self) -> str:
        """One line on a schema that is older, or not there."""
        there = f"the schema is at {self.found}" if self.found else "there is no schema yet"
        return f"{there}, {self.wanted} is needed: run `promidata-sync migrate`"


async def look_at_schema(database: Database) -> Schema:
    """Where the schema is.

    Raises:
        DatabaseUnavailable: PostgreSQL is away, or does not let us look.
    """
    scripts = _scripts()
    found, note = await _stored(database)
    oldest = (note or "").removeprefix(f"{found} {WORKS_WITH} ")
    return Schema(found, scripts.get_current_head() or "", _revisions(scripts), None if oldest == note else oldest)


async def _stored(database: Database) -> tuple[str | None, str | None]:
    """The revision, and what its migration said of older programs.

    Raises:
        DatabaseMisfit: there is no place for tables, or none for all characters, so that there is nothing to wait
            for, nor to migrate.
        DatabaseUnavailable: PostgreSQL is away, or does not let us look.
    """
    async with database.quick() as db:
        found = (await db.execute(text(WHERE))).one()
        if found.encoding not in ENCODINGS:
            raise DatabaseMisfit(f"PostgreSQL at {database.address.shown}: {TOO_NARROW.format(found.encoding)}")
        if found.place is None:
            raise DatabaseMisfit(f"PostgreSQL at {database.address.shown}: {NOWHERE}")
        if not found.has_schema:
            return None, None
        row = (await db.execute(text(STORED))).one_or_none()
    return (None, None) if row is None else (row.version_num, row.note)


def newest_revision() -> str:
    """The revision that this code is made for."""
    return _scripts().get_current_head() or ""


async def current_revision(database: Database) -> str | None:
    """The revision that the database is at, or None when it has no schema yet."""
    return (await _stored(database))[0]


async def check_schema(database: Database) -> None:
    """See that this program can work on the schema.

    Raises:
        DatabaseMisfit: it is older, or not there.
        DatabaseUnavailable: PostgreSQL is away.
        SchemaTooNew: it is of a newer version, which this one does not work with.
    """
    schema = await look_at_schema(database)
    if schema.is_newer:
        schema.refuse_or_warn()
    if not schema.fits:
        raise DatabaseMisfit(schema.explain())


async def wait_for_schema(database: Database) -> None:
    """Wait until the schema is the one that this code is made for, at most a minute.

    Raises:
        DatabaseMisfit: it did not come; says what to run.
        DatabaseUnavailable: PostgreSQL is away.
        SchemaTooNew: it is of a newer version, which this one does not work with.
    """
    if await current_revision(database) == newest_by_name():
        return
    for second in range(WAIT_S):
        schema = await look_at_schema(database)
        if schema.is_newer:
            schema.refuse_or_warn()
        if schema.fits:
            return
        if second % 10 == 0:
            log.info("waiting for the schema", wanted=schema.wanted, found=schema.found)
        await asyncio.sleep(1)
    await check_schema(database)


def refuse_unknown(heads: Iterable[str], scripts: ScriptDirectory) -> None:
    """For Alembic: refuse to migrate from a revision that no script here leads to.

    Raises:
        SchemaTooNew: one of `heads` is unknown.
    """
    for head in heads:
        schema = Schema(head, scripts.get_current_head() or "", _revisions(scripts), None)
        if schema.is_newer:
            schema.refuse_or_warn()


def _revisions(scripts: ScriptDirectory) -> frozenset[str]:
    return frozenset(script.revision for script in scripts.walk_revisions())


def note_compatibility(
    ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: Mapping[str, Any]
) -> None:
    """For Alembic: note beside the revision which older programs work on it, as its migration says in `works_with`."""
    del heads, run_args
    revision = step.up_revision if step.is_upgrade else None
    oldest = getattr(getattr(revision, "module", None), "works_with", None)
    note = f"'{step.up_revision_id} {WORKS_WITH} {oldest}'" if oldest else "NULL"
    if ctx.connection is not None:
        ctx.connection.execute(text(f"COMMENT ON TABLE alembic_version IS {note}"))
