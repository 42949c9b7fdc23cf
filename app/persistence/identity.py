"""Which database this is, in a word that another one does not share.

The cluster's identifier and the database's number in it: unlike a row of our own they differ in a copy that was made
by dump and restore or from a template, and stay through a failover to a replica.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

NOT_TOLD = "0"


async def database_identity(db: AsyncConnection) -> str:
    """The word. A host that hides the cluster's identifier leaves name and number of the database."""
    told = await db.scalar(text("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')"))
    cluster = NOT_TOLD
    if told:
        cluster = str(await db.scalar(text("SELECT system_identifier FROM pg_control_system()")))
    named = await db.scalar(
        text("SELECT CAST(oid AS text) || '.' || datname FROM pg_database WHERE datname = current_database()")
    )
    return f"{cluster}.{named}"
