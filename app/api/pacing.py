"""How fast exports go: while a run is under way and processors are short, they work about a tenth of the time.

    a look every 0.25 s, while anything is exported: a run under way? ─ no ─▶ full speed
        └ yes, and at the last look there was none ─▶ slow for a second ─▶ full speed, watched
                      slow for 15 seconds ◀─ it waited for a processor a tenth of the time ┘
    slow: after each piece a rest, by the processor's time that the piece has cost

The sync is what the catalogue is true by, an export can take longer; where processors are left over neither has to.
The kernel's priorities do not do it: they end at a container's walls, and one thread with a lower one holds up all
others of its process (decision 0039).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.errors import DatabaseUnavailable
from app.outages import outages
from app.persistence import moving
from app.persistence.database import Database
from app.persistence.failures import StatementRefused

LOOK_EVERY_S = 0.25
LINGERS_S = 2.0
"""For so long after a run was last seen the next one is expected: they follow each other."""
AT_FIRST_S = 1.0
"""So slow begins what is found to be beside a run; a sync of a few families is over by then."""
HELD_S = 15.0
"""So long nothing is tried again where processors were short; a trial takes a tenth of a second."""
WATCHED_S = 0.05
"""Of work, at full speed, after which it is said whether it had to wait for a processor."""
MOST_WAITED = 0.1
"""Of the time worked: 0.02 with a reader and PostgreSQL on the same two cores, 0.33 beside a sync as well."""
RESTS = 20
"""Seconds for a second that was counted: half of what a product costs the API, and a third with PostgreSQL's part."""


class Pacing:
    """One process's pace, which its exports share."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._exports = 0
        self._looking: asyncio.Task[None] | None = None
        self._run_until = 0.0
        self._slow_until = 0.0

    @asynccontextmanager
    async def exporting(self) -> AsyncIterator[Pace]:
        """The pace of one export, from its beginning to its end."""
        self._exports += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._keep_looking())
        try:
            yield Pace(self)
        finally:
            self._exports -= 1
            if not self._exports:
                self._looking.cancel()
                self._looking = None

    def rest_for(self, cost_s: float) -> float:
        """Seconds to rest after what took a processor so long; exports beside each other rest for each other, too."""
        return cost_s * RESTS * self._exports if time.monotonic() < self._slow_until else 0.0

    def strained(self) -> None:
        """Processors are short: go slow, if there is somebody to give way to."""
        now = time.monotonic()
        if now < self._run_until:
            self._slow_until = now + HELD_S

    async def _keep_looking(self) -> None:
        while True:
            try:
                async with self._database.quick() as db:
                    self._saw(under_way=await moving.is_run_under_way(db))
            except (DatabaseUnavailable, StatementRefused) as error:
                outages.noted(error, "exports do not know of runs without the database")
            await asyncio.sleep(LOOK_EVERY_S)

    def _saw(self, *, under_way: bool) -> None:
        now = time.monotonic()
        if under_way:
            if now >= self._run_until:
                self._slow_until = now + AT_FIRST_S
            self._run_until = now + LINGERS_S
        elif now >= self._run_until:
            self._slow_until = 0.0


class Pace:
    """One export's: it counts what the work costs, as a context manager around each bit that waits for nothing."""

    def __init__(self, pacing: Pacing) -> None:
        self._pacing = pacing
        self._cost_s = 0.0
        self._watched_s = 0.0
        self._watched_cost_s = 0.0
        self._began = (0.0, 0.0)

    def __enter__(self) -> None:
        self._began = (time.perf_counter(), time.thread_time())

    def __exit__(self, *_: object) -> None:
        began, cost = self._began
        self.worked(time.perf_counter() - began, time.thread_time() - cost)

    def worked(self, took_s: float, cost_s: float) -> None:
        """Count some work: what it took by the clock, and what of that it had a processor, in seconds."""
        self._cost_s += cost_s
        self._watched_s += took_s
        self._watched_cost_s += cost_s
        if self._watched_s > WATCHED_S:
            if self._watched_cost_s < self._watched_s * (1 - MOST_WAITED):
                self._pacing.strained()
            self._watched_s = self._watched_cost_s = 0.0

    async def rest(self) -> float:
        """Give others their turn, and rest where that is asked for; for how long, in seconds."""
        rest_s = self._pacing.rest_for(self._cost_s)
        self._cost_s = 0.0
        await asyncio.sleep(rest_s)
        return rest_s
