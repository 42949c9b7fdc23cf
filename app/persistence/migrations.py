"""The schema: bring it up to date, or wait until somebody has.

Alembic holds the migrations; they run over a connection of ours, one process at a time.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from structlog import get_logger

from app.errors import DatabaseUnavailable
from app.persistence.database import Database

log = get_logger()

PACKAGED = Path(__file__).resolve().with_name("_alembic")
CLONED = Path(__file__).resolve().parents[2] / "alembic"
WAIT_S = 60
OLDEST_SERVER = 160000
"""PostgreSQL 16, as `server_version_num` counts."""


def alembic_config() -> Config:
    """Alembic's configuration, wherever the process was started: an installed wheel carries the migrations within.

    In a clone they are in `alembic/` at the top level, where Alembic's own command finds them through `alembic.ini`.
    """
    config = Config()
    folder = PACKAGED if PACKAGED.is_dir() else CLONED
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config


async def migrate(database: Database, revision: str = "head") -> None:
    """Bring the schema to `revision`; several at once leave one schema, and the others wait.

    Raises:
        DatabaseUnavailable: PostgreSQL is away, or older than 16.
    """

    def run(connection: Connection) -> None:
        version = int(connection.scalar(text("SHOW server_version_num")) or 0)
        if version < OLDEST_SERVER:
            raise DatabaseUnavailable(f"PostgreSQL {version // 10000} is too old: 16 or newer is needed")
        connection.commit()
        config = alembic_config()
        config.attributes["connection"] = connection
        if revision == "base":
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)
        connection.commit()

    await database.run_sync(run)


def newest_revision() -> str:
    """The revision that this code is made for."""
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    return head or ""


async def current_revision(database: Database) -> str | None:
    """The revision that the database is at, or None when it has no schema yet."""
    try:
        async with database.quick() as db:
            found = await db.scalar(text("SELECT version_num FROM alembic_version"))
    except DBAPIError:
        return None
    return None if found is None else str(found)


async def wait_for_schema(database: Database) -> None:
    """Wait until the schema is the one that this code is made for, at most a minute.

    Raises:
        DatabaseUnavailable: it did not come; says what to run.
    """
    wanted = newest_revision()
    for second in range(WAIT_S):
        found = await current_revision(database)
        if found == wanted:
            return
        if second % 10 == 0:
            log.info("waiting for the schema", wanted=wanted, found=found)
        await asyncio.sleep(1)
    raise DatabaseUnavailable(f"the schema is at {found}, {wanted} is needed: run `promidata-sync migrate`")
