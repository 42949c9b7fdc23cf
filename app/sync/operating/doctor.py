"""What `promidata-sync doctor` finds out about the work itself: do ledger, Redis, catalogue and store agree.

    queues     what waits ─▶ is it paused, does a worker live that would do it
    dispatch   the ledger's open jobs ─▶ does Redis know them │ what Redis queues ─▶ is it open in the ledger
    runs       do the books balance, does something move
    changes    are they numbered
    pictures   a sample of what is recorded ─▶ is it in the store

Nothing is mended here. Most of it mends itself within seconds where workers live, so each finding says what is missing
for that; what is younger than a few seconds is no finding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from app.coordination.heartbeats import live_workers
from app.errors import QueueUnavailable
from app.jobs.definitions import QUEUES, STAGE_OF
from app.jobs.queue import RedisQueue
from app.persistence import dispatching, drift
from app.persistence.database import Database
from app.persistence.drift import QueueLoad, StillRun
from app.persistence.ledger import closed_among
from app.persistence.media import MediaRow
from app.sync.services import Services
from app.sync.stage.tasks import together
from app.wording import counted

SETTLED_S = 10.0
"""A message, or the word that a job is over, is given so long to arrive."""
NUMBERED_WITHIN_S = 5.0
PAGE = 1_000
MOST_PAGES = 50
"""Of a queue's jobs; what comes after them is not looked at."""
SAMPLED = 50
NAMED = 3
"""Runs that a finding names."""
"""How a queue's worker is typed."""


class Finding(msgspec.Struct, frozen=True):
    """What one check found."""

    part: str
    ok: bool
    found: str
    """What is there, or what is wrong."""
    do: str = ""
    """What to do about it; empty when nothing is."""
    there: bool = True
    """Whether what needs this part could be looked at."""


async def check_queues(services: Services) -> Finding:
    """Is there somebody to do what waits.

    Raises:
        DatabaseUnavailable, QueueUnavailable: a part is away.
    """
    beats = [] if services.queue is None else await live_workers(services.queue.redis, services.queue.keys)
    async with services.database.read() as db:
        loads = await drift.queue_loads(db)
    return judge_queues(loads, Counter(beat.queue_name for beat in beats))


def judge_queues(loads: Sequence[QueueLoad], workers: Counter[str]) -> Finding:
    """What queues with this much to do and so many live workers come to.

    >>> judge_queues([QueueLoad("image-upload", paused=True, due=2)], Counter()).found
    'image-upload is paused while 2 jobs wait'
    """
    paused = [load for load in loads if load.paused]
    held = [load for load in paused if load.due]
    left = [load for load in loads if load.due and not load.paused and not workers[load.name]]
    found = [f"{load.name} is paused while {counted(load.due, 'job waits', 'jobs wait')}" for load in held]
    found += [f"{load.name} has {counted(load.due, 'job')} and no live worker" for load in left]
    todo = [f"`promidata-sync resume {load.name}`" for load in paused]
    todo += [f"start a worker: `promidata-sync worker {STAGE_OF[load.name]}`" for load in left]
    if found:
        return Finding("queues", ok=False, found=", ".join(found), do=", ".join(todo))
    due = sum(load.due for load in loads)
    calm = f"{counted(due, 'job')} to do" + "".join(f", {load.name} is paused" for load in paused)
    return Finding("queues", ok=True, found=calm, do=", ".join(todo))


async def check_dispatch(services: Services) -> Finding:
    """Do ledger and Redis name the same jobs.

    Raises:
        DatabaseUnavailable, QueueUnavailable: a part is away.
    """
    queue = services.queue
    if queue is None:
        raise QueueUnavailable("REDIS_URL is not set")
    unsent, stale = 0, 0
    for name in QUEUES:
        unsent += await _unknown_to_redis(services.database, queue, name)
        stale += await _over_in_the_ledger(services.database, queue, name)
    if unsent:
        found = f"Redis does not know {unsent} of the ledger's open jobs"
        return Finding("dispatch", ok=False, found=found, do="nothing: any live worker of the queue sends them again")
    if stale:
        found = f"Redis queues {counted(stale, 'job that is', 'jobs that are')} over in the ledger"
        do = "nothing: workers drop them when their turn comes; a paused queue keeps them until it is resumed"
        return Finding("dispatch", ok=False, found=found, do=do)
    return Finding("dispatch", ok=True, found="ledger and Redis name the same jobs")


async def _unknown_to_redis(database: Database, queue: RedisQueue, name: str) -> int:
    number, after = 0, ""
    for _ in range(MOST_PAGES):
        async with database.read() as db:
            page = await dispatching.open_jobs(db, name, after, PAGE, SETTLED_S)
        if not page:
            break
        unknown = await queue.unknown(name, [job.id for job in page])
        async with database.read() as db:  # those that ended since the page was read are no drift
            number += len(unknown) - len(await closed_among(db, unknown))
        after = page[-1].id
    return number


async def _over_in_the_ledger(database: Database, queue: RedisQueue, name: str) -> int:
    number = 0
    for page in range(MOST_PAGES):
        ids = await queue.page(name, page * PAGE, PAGE)
        if not ids:
            break
        async with database.read() as db:
            number += len(ids) - len(await drift.still_open(db, ids, SETTLED_S))
    return number


async def check_runs(services: Services) -> Finding:
    """Do the runs' books balance, and does something move in each.

    Raises:
        DatabaseUnavailable: PostgreSQL is away.
    """
    still_s = services.settings.job_timeout_supplier_ms / 1000
    async with services.database.read() as db:
        drifted = await dispatching.drifted_runs(db)
        still = await drift.still_runs(db, still_s)
        under_way = await drift.runs_under_way(db)
    if drifted:
        return _drifted(drifted)
    if still:
        return _still(still)
    return Finding("runs", ok=True, found=f"{under_way} under way, their books balance")


def _drifted(drifted: Sequence[tuple[str, int, int]]) -> Finding:
    named = "; ".join(f"run {run} counts {says} open jobs and has {counted}" for run, says, counted in drifted[:NAMED])
    do = (
        "this is a bug, please report it with the workers' logs; to free the supplier set runs.open_jobs of the run to "
        "what it has, then `promidata-sync cancel RUN`"
    )
    return Finding("runs", ok=False, found=named + _more(len(drifted)), do=do)


def _still(still: Sequence[StillRun]) -> Finding:
    named = "; ".join(
        f"run {run.id} of {run.supplier}: nothing has moved for {run.still_s / 60:.0f} min"
        + (f", open in {', '.join(run.queues)}" if run.queues else ", no job is open")
        for run in still[:NAMED]
    )
    do = "see queues and workers above; if those are well, `promidata-sync cancel RUN`, then sync the supplier again"
    return Finding("runs", ok=False, found=named + _more(len(still)), do=do)


def _more(number: int) -> str:
    return f"; and {number - NAMED} more" if number > NAMED else ""


async def check_changes(services: Services) -> Finding:
    """Does the change feed keep up.

    Raises:
        DatabaseUnavailable: PostgreSQL is away.
    """
    async with services.database.read() as db:
        behind = await drift.unnumbered_changes(db)
    if behind.oldest_s <= NUMBERED_WITHIN_S:
        return Finding("changes", ok=True, found="all are numbered")
    found = f"{behind.number} changes have no number, the oldest for {behind.oldest_s:.0f} s, so followers miss them"
    do = "start a worker, of whatever queue, or the API: each numbers them; if one runs, look for errors in its log"
    return Finding("changes", ok=False, found=found, do=do)


async def check_pictures(services: Services) -> Finding:
    """Has the store what is recorded, by a sample.

    Raises:
        DatabaseUnavailable, StoreUnavailable: a part is away.
    """
    async with services.database.read() as db:
        sample = await drift.sample_media(db, SAMPLED)
    wrong: list[str] = []

    async def look(row: MediaRow) -> None:
        found = await services.store.head(row.key)
        if found is None or found.size != row.size_bytes:
            wrong.append(row.key)

    async with together() as group:
        for row in sample:
            group.create_task(look(row))
    if not wrong:
        return Finding("pictures", ok=True, found=f"the store has all of {len(sample)} that were looked for")
    found = f"{len(wrong)} of {len(sample)} that were looked for are not in the store with their size: {min(wrong)}"
    do = "`promidata-sync media verify --repair` looks for all that are recorded and fetches again what is missing"
    return Finding("pictures", ok=False, found=found, do=do)
