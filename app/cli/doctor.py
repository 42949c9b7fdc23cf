"""`promidata-sync doctor`: are the parts there and fitting, do they agree, and if not, what to do.

    database, schema ─▶ redis, workers ─▶ queues, dispatch, runs, changes ─▶ store, pictures ─▶ feed

Each check stands alone, so that one part that is away does not hide what is wrong with another; what cannot be looked
at without a part that is away is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from rich.table import Table
from rich.text import Text

from app import VERSION
from app.cli.exits import ExitCode
from app.cli.feed_check import check_manifest
from app.cli.interrupts import interruptible
from app.cli.surroundings import find_settings
from app.cli.telling import Teller, tell_json
from app.coordination.heartbeats import workers_now
from app.coordination.server_memory import RedisMemory, redis_memory
from app.coordination.server_version import OLDEST, redis_version
from app.errors import (
    ConnectionsRefused,
    DatabaseMisfit,
    DatabaseReadOnly,
    DatabaseUnavailable,
    PromidataSyncError,
    QueueUnavailable,
    SettingsError,
)
from app.jobs.definitions import QUEUES, STAGE_OF
from app.jobs.queue import RedisQueue
from app.jobs.redis_errors import NEEDS_MEMORY, remedy
from app.persistence.drift import server_encoding, server_version
from app.persistence.failures import is_explained
from app.persistence.migrations import look_at_schema
from app.persistence.taking_writes import try_to_write
from app.settings import Settings
from app.sync.installation import SEEN_WITHIN_S, learn, take_hold
from app.sync.operating.doctor import (
    Finding,
    check_changes,
    check_dispatch,
    check_pictures,
    check_queues,
    check_runs,
)
from app.sync.services import Services, open_services
from app.wording import counted

OLDEST_POSTGRES = 16
UNCHECKED = "SQL_ASCII"
WITHIN_S = 20.0
"""What one check may take."""


Check = Callable[[Services], Awaitable[Finding]]
ADVICE = {
    "database": "start it, or correct DATABASE_URL",
    "schema": "start the database, then run `promidata-sync migrate`",
    "redis": "start it, or correct REDIS_URL; reading and direct syncs work without it",
    "workers": "start Redis first",
    "store": "correct the S3_ settings and the key's rights, or make DATA_DIR writable",
    "feed": "correct PROMIDATA_BASE_URL; the seller's profile has it",
}
WAITS_FOR = "look whether it is overloaded; pg_stat_activity says what sessions wait for (SyncRep: a standby)"
SILENT = {"database": WAITS_FOR, "schema": WAITS_FOR}
"""What to do about a part that does not answer, if there is more to say than of the others."""


def run_doctor(*, as_json: bool) -> ExitCode:
    """Print what was found; returns FAILED when something is wrong.

    Raises:
        SettingsError: a setting makes no sense.
    """
    findings = interruptible(examine(find_settings()))
    healthy = all(finding.ok for finding in findings)
    if as_json:
        tell_json({"ok": healthy, "checks": findings})
    else:
        _show(findings)
    return ExitCode.OK if healthy else ExitCode.FAILED


def _show(findings: list[Finding]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for finding in findings:
        mark = Text("ok", style="green") if finding.ok else Text("WRONG", style="bold red")
        table.add_row(mark, finding.part, Text(finding.found))
        if finding.do:
            table.add_row("", "", Text(f"-> {finding.do}"))
    Teller().show(table)


async def examine(settings: Settings) -> list[Finding]:
    """All findings, in the order in which things depend on each other."""
    if settings.database_url is None:
        return [_no_database(), await _guarded("feed", _feed(settings))]
    async with open_services(settings) as services:
        return [*await _examine(services), await _guarded("feed", _feed(settings))]


async def _examine(services: Services) -> list[Finding]:
    found: dict[str, Finding] = {}
    checks: list[tuple[str, Check, tuple[str, ...]]] = [
        ("database", _database, ()),
        ("schema", _schema, ()),
        ("redis", _redis, ()),
        ("workers", _workers, ()),
        ("queues", check_queues, ("schema", "workers")),
        ("dispatch", check_dispatch, ("schema", "redis")),
        ("runs", check_runs, ("schema",)),
        ("changes", check_changes, ("schema",)),
        ("store", _store, ()),
        ("pictures", check_pictures, ("schema", "store")),
    ]
    for part, check, needed in checks:
        if all(found[name].there for name in needed):
            found[part] = await _guarded(part, check(services))
    return list(found.values())


def _no_database() -> Finding:
    do = "set DATABASE_URL to a PostgreSQL 16 or newer, or start everything with `promidata-sync up`"
    return Finding("database", ok=False, found="DATABASE_URL is not set, and no `up` runs on DATA_DIR", do=do)


async def _guarded(part: str, check: Awaitable[Finding]) -> Finding:
    """What a check found; its error is a finding, too."""
    try:
        async with asyncio.timeout(WITHIN_S):
            return await check
    except TimeoutError:
        found, do = f"no answer within {WITHIN_S:.0f} s", SILENT.get(part, "look whether it is overloaded")
    except PromidataSyncError as error:
        found, do = str(error), _advice(part, error)
    return Finding(part, ok=False, found=found, do=do, there=False)


def _advice(part: str, error: Exception) -> str:
    if isinstance(error, ConnectionsRefused):
        return "lower DATABASE_POOL_SIZE, or raise the limit; docs/operations.md has the arithmetic"
    if isinstance(error, (DatabaseMisfit, DatabaseReadOnly)) or is_explained(error):
        return ""  # it says so itself
    refused = remedy(error.__cause__)
    if refused is None and isinstance(error, SettingsError):
        return ""
    return refused or ADVICE.get(part, "look at the parts above first")


async def _database(services: Services) -> Finding:
    await services.database.check()
    async with services.database.read() as db:
        version = await server_version(db)
        encoding = await server_encoding(db)
    if int(version.partition(".")[0]) < OLDEST_POSTGRES:
        do = f"use PostgreSQL {OLDEST_POSTGRES} or newer"
        return Finding("database", ok=False, found=f"PostgreSQL {version} is too old", do=do)
    if encoding == UNCHECKED:
        do = "UTF8 checks what it is given: createdb -E UTF8 -T template0 ..., pg_dump and pg_restore bring you there"
        return Finding("database", ok=True, found=f"PostgreSQL {version}, writable, in {encoding}", do=do)
    return Finding("database", ok=True, found=f"PostgreSQL {version}, writable")


async def _schema(services: Services) -> Finding:
    schema = await look_at_schema(services.database)
    if schema.fits:
        await try_to_write(services.database)
        newer = ", of a newer version, which this one works with" if schema.is_newer else ""
        return Finding("schema", ok=True, found=f"revision {schema.found}{newer}")
    if schema.is_newer:
        found = f"revision {schema.found}, of a newer version than this one ({VERSION})"
        do = "run that version, or restore the database from before the upgrade"
        return Finding("schema", ok=False, found=found, do=do, there=False)
    there = f"revision {schema.found}, this version needs {schema.wanted}" if schema.found else "there is no schema yet"
    return Finding("schema", ok=False, found=there, do="run `promidata-sync migrate`", there=False)


async def _redis(services: Services) -> Finding:
    if services.queue is None:
        do = "set REDIS_URL; without it only `sync --direct` works"
        return Finding("redis", ok=False, found="REDIS_URL is not set", do=do, there=False)
    try:
        await _ours_to_use(services, services.queue)
    except SettingsError:
        version = None
        with suppress(QueueUnavailable):  # where we are not let in at all, that is what there is to say
            version = await redis_version(services.queue.redis, services.queue.keys)
        if version is None or version.fits:
            raise
    else:
        version = await redis_version(services.queue.redis, services.queue.keys)
    if not version.fits:
        oldest = ".".join(map(str, OLDEST))
        do = f"use Redis {oldest} or newer, or Valkey"
        return Finding("redis", ok=False, found=f"{version.shown} is too old", do=do)
    return _room(version.shown, await redis_memory(services.queue.redis))


async def _ours_to_use(services: Services, queue: RedisQueue) -> None:
    with suppress(DatabaseUnavailable):
        await learn(services.database, queue)
    await queue.try_once()
    await take_hold(queue, SEEN_WITHIN_S)
    await queue.check()


def _room(shown: str, memory: RedisMemory | None) -> Finding:
    """A Redis that is there and writable now, and what it will do without room; `memory` None is not told."""
    if memory is not None and memory.evicts:
        found = f"{shown}, its maxmemory-policy is {memory.policy}: full, it throws jobs away in place of refusing them"
        return Finding("redis", ok=False, found=found, do="set maxmemory-policy to noeviction")
    if memory is not None and memory.nearly_full:
        found = f"{shown}, {memory.used_bytes / memory.most_bytes:.0%} of its maxmemory is in use"
        return Finding("redis", ok=False, found=found, do=NEEDS_MEMORY)
    return Finding("redis", ok=True, found=f"{shown}, writable")


async def _workers(services: Services) -> Finding:
    """None at all is what a machine looks like before its start; one kind missing is wrong, and one that waits."""
    if services.queue is None:
        return Finding("workers", ok=True, found="none can be seen without Redis")
    if services.queue.tenancy.foreign:
        return Finding(
            "workers", ok=True, found="not known: who is there belongs to the other installation", there=False
        )
    beats, silent = await workers_now(services.queue.redis, services.queue.keys)
    numbers = {queue: sum(beat.queue_name == queue for beat in beats) for queue in QUEUES}
    found = ", ".join(f"{queue} {number}" for queue, number in numbers.items()) if beats else "none is running"
    found += f"; {silent} ended without a word" if silent else ""
    missing = [STAGE_OF[queue] for queue, number in numbers.items() if not number]
    if beats and missing:
        do = "start the missing ones: " + ", ".join(f"`promidata-sync worker {kind}`" for kind in missing)
        return Finding("workers", ok=False, found=found, do=do)
    if waits := {
        f"{beat.queue_name} waits for {on}: {said}" for beat in beats for on, said in (beat.waits_for or {}).items()
    }:
        do = "mend that; their jobs go on by themselves then, and it costs them no attempt"
        return Finding("workers", ok=False, found="; ".join([found, *sorted(waits)]), do=do)
    do = "look at their logs; their jobs run again by themselves where workers live" if silent else ""
    return Finding("workers", ok=True, found=found, do=do)


async def _store(services: Services) -> Finding:
    await services.store.check()
    bucket = services.settings.s3_bucket
    where = f"bucket {bucket}" if bucket else f"folder {services.settings.data_dir / 'media'}"
    return Finding("store", ok=True, found=f"{where}, writable")


async def _feed(settings: Settings) -> Finding:
    check = await check_manifest(settings)
    found = (
        f"{counted(check.entries, 'document')} of {counted(len(check.suppliers), 'supplier')}, "
        f"{counted(check.invalid, 'invalid line')}"
    )
    return Finding("feed", ok=True, found=found)
