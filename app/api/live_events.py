"""The events behind a stream: what differs between two looks at the ledger, numbered and kept for who comes back.

    look every 0.5 s, while anybody listens, and a minute more
        ─▶ what differs from the last look ─▶ numbered, kept ─▶ every stream

The ledger is looked at rather than told by the stages: an event is then never about something that was not committed,
it needs no Redis, and 50 streams cost one look. An event is written once, and a stream sends what a look found as one
piece: 50 streams of a sync cost the API 50 pieces a look, not 50 times its events. A job that runs for less than a look
may be told of by its queue's numbers alone, but not where it was told as failed before. Ids begin with a word of this
process: one from another process, or from before a restart, is unknown; so is one from before a time in which nobody
looked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import msgspec
from fastapi.sse import format_sse_event
from structlog import get_logger

from app.errors import DatabaseUnavailable
from app.jobs.definitions import QUEUES
from app.outages import outages
from app.persistence import job_lists, moving
from app.persistence.database import Database
from app.settings import Settings
from app.states import OPEN, UNDER_WAY
from app.views.jobs import job_status, queue_stats
from app.views.runs import run_out
from app.views.shapes import shown_json

log = get_logger()

LOOK_EVERY_S = 0.5
KEPT_EVENTS = 2_000
MOST_FAILED = 2_000
"""Of so many jobs that were told as failed last it is told when they are so no more."""
LINGER_S = 60.0
"""For how long it is looked on after the last stream ended, for whoever reads by one stream after the other."""
AFTER_DEFECT_S = 10.0
"""How long after a look that failed for a reason of ours the next one follows, since open streams wait for it."""
QUIET_S = 15.0
"""After so many seconds without an event a stream is to give a sign of life, for what stands between."""
MISSED = "the id is unknown or too old: read everything again"

State = dict[tuple[str, str], dict[str, Any]]
"""Kind and id to what was seen."""


class LiveEvent(msgspec.Struct, frozen=True):
    """Something that changed; `kind` is `job`, `queue`, `run`, or `reset` for a listener that missed some."""

    id: str
    kind: str
    data: dict[str, Any]
    text: bytes
    """As a server-sent event."""


def _event(name: str, kind: str, data: dict[str, Any]) -> LiveEvent:
    text = format_sse_event(event=kind, id=name, data_str=msgspec.json.encode(data).decode())
    return LiveEvent(name, kind, data, text)


class LiveEvents:
    """One process's events."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._process = uuid4().hex[:8]
        self._kept: deque[LiveEvent] = deque(maxlen=KEPT_EVENTS)
        self._number = 0
        self._seen: State | None = None
        self._failed: dict[str, None] = {}
        """Jobs as the last event of each told them, the oldest first: only a retry by hand makes that untrue."""
        self._listeners = 0
        self._looking: asyncio.Task[None] | None = None
        self._stopped: asyncio.Task[None] | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._one_look = asyncio.Lock()
        self._news = asyncio.Condition()
        self._closing: asyncio.Future[None] | None = None
        self._closed = False

    @asynccontextmanager
    async def following(self, last_id: str | None) -> AsyncIterator[AsyncIterator[Sequence[LiveEvent]]]:
        """Events from after `last_id` on, without one from after this moment on, as they happen and none left out.

        Each time all that there are, and none after `QUIET_S` without any; a `reset` in place of those that are gone.

        Raises:
            DatabaseUnavailable: there is nothing to look at.
        """
        if self._seen is None or not self._listeners:
            await self._look()
        self._join()
        try:
            yield self._follow(self._number if last_id is None else self._after(last_id))
        finally:
            self._leave()

    async def _follow(self, number: int | None) -> AsyncIterator[Sequence[LiveEvent]]:
        while not self._closed:
            if number is None or number < self._first:
                number = self._number
                yield [self._reset()]
            elif events := self._since(number):
                number = self._number  # before they are sent: a look may add some meanwhile
                yield events
            elif not await self._more_than(number):
                yield []

    def close(self) -> None:
        """End every stream, since the process is ending."""
        self._closed = True
        self._stop_looking()
        self._closing = asyncio.ensure_future(self._tell())

    async def stop(self) -> None:
        """Look no more, and wait until nothing is asked of the database."""
        self._stop_looking()
        if self._stopped is not None:
            await asyncio.wait([self._stopped])

    def _join(self) -> None:
        self._listeners += 1
        self._keep_lingering(None)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._keep_looking())

    def _leave(self) -> None:
        self._listeners -= 1
        if not self._listeners:
            self._keep_lingering(asyncio.get_running_loop().call_later(LINGER_S, self._forget))

    def _keep_lingering(self, timer: asyncio.TimerHandle | None) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
        self._lingering = timer

    def _forget(self) -> None:
        """Look no more. What happens from now on is seen by nobody, so all that was told is too old."""
        self._stop_looking()
        self._seen = None
        self._failed.clear()
        self._kept.clear()
        self._number += 1

    def _stop_looking(self) -> None:
        self._keep_lingering(None)
        if self._looking is not None:
            self._looking.cancel()
            self._looking, self._stopped = None, self._looking

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self._look()
            except DatabaseUnavailable as error:
                outages.noted(error, "no events without the database")
            except Exception:
                log.exception("a look for events failed", again_in_s=AFTER_DEFECT_S)
                await asyncio.sleep(AFTER_DEFECT_S)

    async def _look(self) -> None:
        async with self._one_look:
            before = self._seen or {}
            now = await self._read(before)
            if self._seen is not None:
                for key, data in now.items():
                    if before.get(key) != data:
                        self._add(key[0], data)
                        self._note_failed(*key, data)
            self._seen = now
        await self._tell()

    async def _read(self, before: State) -> State:
        """The state of what moves or did at the last look, and of jobs that were told as failed and are not so now."""
        moved = [key for key, data in before.items() if _moves(key[0], data)]
        async with self._database.read() as db:
            numbers = await job_lists.count_jobs(db, QUEUES)
            runs = await moving.moving_runs(db, [name for kind, name in moved if kind == "run"])
            jobs = await moving.moving_jobs(
                db,
                QUEUES,
                [name for kind, name in moved if kind == "job"],
                list(self._failed),
                [str(run["id"]) for run in runs],
            )
        state: State = {("queue", name): shown_json(queue_stats(found)) for name, found in numbers.items()}
        state |= {("run", str(run["id"])): _without_clock(shown_json(run_out(self._settings, run))) for run in runs}
        return state | {("job", job.id): shown_json(job_status(self._settings, job)) for job in jobs}

    def _add(self, kind: str, data: dict[str, Any]) -> None:
        self._number += 1
        self._kept.append(_event(self._id(self._number), kind, data))

    def _note_failed(self, kind: str, name: str, data: Mapping[str, Any]) -> None:
        if kind != "job":
            return
        self._failed.pop(name, None)
        if data["state"] == "failed":
            self._failed[name] = None
        if len(self._failed) > MOST_FAILED:
            del self._failed[next(iter(self._failed))]

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _more_than(self, number: int) -> bool:
        """Wait for news after event `number`, or for the end; False when there was neither for `QUIET_S`."""
        try:
            async with asyncio.timeout(QUIET_S), self._news:
                await self._news.wait_for(lambda: self._closed or self._number != number)
        except TimeoutError:
            return False
        return True

    def _since(self, number: int) -> list[LiveEvent]:
        return list(self._kept)[number - self._first :]

    @property
    def _first(self) -> int:
        """The number before the oldest that is kept."""
        return self._number - len(self._kept)

    def _reset(self) -> LiveEvent:
        return _event(self._id(self._number), "reset", {"reason": MISSED})

    def _id(self, number: int) -> str:
        return f"{self._process}-{number}"

    def _after(self, last_id: str) -> int | None:
        """The number in an id of this process whose successors are all kept, else None."""
        process, _, number = last_id.rpartition("-")
        if process != self._process or not number.isdecimal() or len(number) > 18:
            return None
        return int(number) if self._first <= int(number) <= self._number else None


def _without_clock(run: dict[str, Any]) -> dict[str, Any]:
    """A run whose duration counts up by itself has not changed by that."""
    return run if run["finishedAt"] else {**run, "durationSeconds": None}


def _moves(kind: str, data: Mapping[str, Any]) -> bool:
    return (kind == "run" and data["status"] in UNDER_WAY) or (kind == "job" and data["state"] in OPEN)
