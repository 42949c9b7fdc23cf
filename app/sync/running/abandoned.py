"""Direct runs whose process is gone: ended as failed, so that they do not hold their suppliers for ever.

    lease over ─▶ seen once ─▶ seen again GRACE_S later, with the same lease, no outage in between ─▶ failed

A lease that is over says nothing by itself: while PostgreSQL was away or read-only, no living process could renew it.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from app.persistence import runs
from app.persistence.database import Connection, Database

GRACE_S = 6.0
"""How long a living process has to renew its leases once PostgreSQL takes writes again; it tries every second."""
LOOK_EVERY_S = 2.5
LOOK_AGAIN_S = 1.0

Since = dict[tuple[str, datetime], datetime]
"""When each run was seen first with that lease, by PostgreSQL's clock."""


class AbandonedRuns:
    """What one process has seen of them; as many processes as there are may look."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._since: Since = {}

    async def look(self) -> bool:
        """End the runs that stayed silent; whether there are others whose lease is over.

        Raises:
            DatabaseUnavailable: PostgreSQL is away or read-only; what was seen before counts no longer.
        """
        before, self._since = self._since, {}

        async def work(db: Connection) -> Since:
            since: Since = {}
            for run in await runs.silent_runs(db):
                first = before.get((run.run_id, run.lease_until))
                if first is not None and run.now - first >= timedelta(seconds=GRACE_S):
                    await runs.end_abandoned(db, run)
                else:
                    since[run.run_id, run.lease_until] = first or run.now
            return since

        self._since = await self._database.transact(work)
        return bool(self._since)


async def end_all_abandoned(database: Database) -> None:
    """Return once no lease is over: each such run was ended, or its process has renewed it.

    Raises:
        DatabaseUnavailable: PostgreSQL is away or read-only.
    """
    abandoned = AbandonedRuns(database)
    while True:
        if not await abandoned.look():
            return
        await asyncio.sleep(LOOK_AGAIN_S)
