"""How fast exports go: while a run is under way and processors are short, they work about a tenth of the time.

    a look every 0.25 s, while anything is exported: a run under way? ─ no ─▶ full speed
        └ yes, and none was seen for two seconds ─▶ slow for a second ─▶ full speed, watched
                             slow for 15 seconds ◀─ it waited for a processor a tenth of the time ┘
    slow: before each piece a rest, by the processor's time that the piece before it has cost beyond what is free

The sync is what the catalogue is true by, an export can take longer; where processors are left over neither has to.
The kernel's priorities do not do it: they end at a container's walls, and one thread with a lower one holds up all
others of its process (decision 0039).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from structlog import get_logger

from app.errors import DatabaseUnavailable
from app.outages import outages
from app.persistence import moving
from app.persistence.database import Database

log = get_logger()

LOOK_EVERY_S = 0.25
AFTER_DEFECT_S = 10.0
"""After a look that failed for a reason of ours."""
LINGERS_S = 2.0
"""For so long after a run was last seen the next one is expected: they follow each other."""
AT_FIRST_S = 1.0
"""So slow begins what is found to be beside a run; a sync of a few families is over by then."""
HELD_S = 15.0
"""So slow it stays where processors were short, from the last time that they were."""
WATCHED_S = 0.05
"""Of work, after which it is said whether it had to wait for a processor."""
MOST_WAITED = 0.1
"""Of the time worked: 0.02 with a reader and PostgreSQL on the same two cores, 0.33 beside a sync as well."""
RESTS = 20
"""Seconds for a second that was counted: 0.2 of the 0.27 ms that a product takes the API, beside PostgreSQL's time."""
READ_S = 0.00005
"""Counted for each product beside what is measured: to read it costs at least that, however little of it is wanted."""
FREE_S, FREE_EVERY_S = 0.2, 20.0
"""So much of what is counted costs no rest, and so often: an export of some hundred products ends at once."""
MOST_REST_S = 0.4
"""Of one rest: a hundred of them fit into what a session of PostgreSQL may idle between two reads (60 s)."""


class Pacing:
    """One process's pace, which its exports share."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._exports = 0
        self._looking: asyncio.Task[None] | None = None
        self._run_until = 0.0
        self._slow_until = 0.0
        self._free_s, self._free_since = FREE_S, time.monotonic()

    @asynccontextmanager
    async def exporting(self, rests_for_s: float) -> AsyncIterator[Pace]:
        """The pace of one export, from its beginning to its end; from `rests_for_s` seconds on it rests no more."""
        self._exports += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._keep_looking())
        try:
            yield Pace(self, time.monotonic() + rests_for_s)
        finally:
            self._exports -= 1

    async def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking

    def rest_for(self, cost_s: float) -> float:
        """Seconds to rest after what took a processor so long; exports beside each other rest for each other, too."""
        now = time.monotonic()
        if now >= self._slow_until:
            return 0.0
        return min((cost_s - self._take_free(cost_s, now)) * RESTS * self._exports, MOST_REST_S)

    def _take_free(self, cost_s: float, now: float) -> float:
        self._free_s = min(FREE_S, self._free_s + (now - self._free_since) * FREE_S / FREE_EVERY_S)
        self._free_since = now
        taken = min(cost_s, self._free_s)
        self._free_s -= taken
        return taken

    def strained(self) -> None:
        """Processors are short: go slow, if there is somebody to give way to."""
        now = time.monotonic()
        if now < self._run_until:
            self._slow_until = now + HELD_S

    async def _keep_looking(self) -> None:
        while self._exports:
            try:
                async with self._database.quick() as db:
                    self._saw(under_way=await moving.is_run_under_way(db))
            except DatabaseUnavailable as error:
                outages.noted(error, "exports do not know of runs without the database")
            except Exception:
                log.exception("a look for runs failed", again_in_s=AFTER_DEFECT_S)
                await asyncio.sleep(AFTER_DEFECT_S)
            await asyncio.sleep(LOOK_EVERY_S)

    def _saw(self, *, under_way: bool) -> None:
        now = time.monotonic()
        if under_way:
            if now >= self._run_until:
                self._slow_until = max(self._slow_until, now + AT_FIRST_S)
            self._run_until = now + LINGERS_S
        elif now >= self._run_until:
            self._slow_until = 0.0


class Pace:
    """One export's: it counts what the work costs, as a context manager around each bit that waits for nothing."""

    def __init__(self, pacing: Pacing, rests_until: float) -> None:
        self._pacing = pacing
        self._rests_until = rests_until
        self._thread = threading.get_ident()
        self._cost_s = 0.0
        self._watched_s = 0.0
        self._watched_cost_s = 0.0
        self._began = (0.0, 0.0)

    def __enter__(self) -> None:
        self._began = (time.perf_counter(), time.thread_time())

    def __exit__(self, *_: object) -> None:
        began, cost = self._began
        took_s, cost_s = time.perf_counter() - began, time.thread_time() - cost
        if threading.get_ident() == self._thread:
            self.worked(took_s, cost_s)
        else:  # waits for the interpreter as well as for a processor
            self._cost_s += cost_s

    def read(self, products: int) -> None:
        """Count what it costs to read so many."""
        self._cost_s += products * READ_S

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
        """Rest where that is asked for; for how long, in seconds."""
        rest_s = self._pacing.rest_for(self._cost_s) if time.monotonic() < self._rests_until else 0.0
        self._cost_s = 0.0
        await asyncio.sleep(rest_s)
        return rest_s
