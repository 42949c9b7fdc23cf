"""`promidata-sync migrate`: bring the database's schema up to date, or take it down again."""

from __future__ import annotations

from app.cli.interrupts import interruptible
from app.cli.surroundings import find_settings
from app.cli.telling import Teller
from app.persistence.migrations import current_revision, migrate
from app.settings import Settings
from app.sync.services import open_services


def run_migrate(revision: str) -> None:
    """Bring the schema to `revision`; several at once leave one schema.

    Raises:
        DatabaseUnavailable: it is away, or too old.
        SettingsError: DATABASE_URL is not set.
    """
    found = interruptible(_migrate(find_settings(), revision))
    Teller().say(f"the schema is at revision {found}" if found else "the schema is gone")


async def _migrate(settings: Settings, revision: str) -> str | None:
    async with open_services(settings) as services:
        await migrate(services.database, revision)
        return await current_revision(services.database)
