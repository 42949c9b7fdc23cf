"""`promidata-sync sync` and `reparse`: start a sync, follow it, or do it in this process.

    sync              a run in the ledger and a message, then back to the prompt
    sync --watch      the same, followed to its end; Ctrl-C leaves it running
    sync --direct     the stages in this process, without Redis; followed, too
    sync --dry-run    what a sync would do, from the manifest alone; nothing is written
    reparse           a run that reads the stored documents anew; the origin is not asked

The status of runs that were followed is the exit code (exits.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from app import traces
from app.cli.acting import act_of
from app.cli.exits import ExitCode, exit_code_of
from app.cli.follow import follow
from app.cli.interrupts import interruptible
from app.cli.named import know_supplier
from app.cli.run_tables import dry_run_table, error_lines, guard_lines, summary_table
from app.cli.surroundings import find_settings
from app.cli.telling import Teller, in_one_line, own_name, remark, tell_json
from app.errors import NotFound
from app.images.opening import refuse_wrong_folder
from app.persistence.suppliers import active_suppliers
from app.sync.operating.acting import audited
from app.sync.operating.discovery import discover
from app.sync.operating.dry_run import DryRun, dry_run
from app.sync.operating.start import Started, StartRequest, start_queued
from app.sync.running.direct import sync_direct
from app.sync.services import Services, open_services
from app.sync.stage.tasks import together
from app.views.runs import Run
from app.views.shapes import shown_json
from app.wording import counted


class SyncOptions(msgspec.Struct, frozen=True):
    """What was typed."""

    request: StartRequest
    direct: bool
    dry_run: bool
    watch: bool
    as_json: bool


def run_sync(options: SyncOptions) -> ExitCode:
    """Do it; returns the exit code.

    Raises:
        SettingsError: a direct sync could not store pictures in DATA_DIR.
        NotFound, Conflict, Invalid: the supplier does not exist, is inactive or busy, or the SKUs name no supplier.
        OutageError: the database, or for a queued sync Redis, is away.
    """
    teller = Teller(quiet=options.as_json)
    return interruptible(_run(options, teller))


async def _run(options: SyncOptions, teller: Teller) -> ExitCode:
    settings = find_settings()
    async with open_services(settings) as services:
        if options.dry_run:
            await know_supplier(services, options.request.supplier)
            return await _dry_run(services, options, teller)
        async with traces.exporting(settings, "sync"):
            with traces.span("command sync", trigger="cli"):
                return await _sync(services, options, teller)


async def _sync(services: Services, options: SyncOptions, teller: Teller) -> ExitCode:
    async with audited(services.database, services.settings, act_of("startSync", options.request.supplier)):
        await _know_suppliers(services, teller, ask=not options.request.reparse)
        await know_supplier(services, options.request.supplier)
        if options.direct:
            await refuse_wrong_folder(services.settings, services.store)
            return await _direct(services, options, teller)
        started = await start_queued(services, options.request)
    if options.watch:
        return await _watch(services, started, options, teller)
    _say_started(started, options, teller)
    return ExitCode.OK


async def _know_suppliers(services: Services, teller: Teller, *, ask: bool) -> None:
    """Discover the suppliers when none is known, so that a first sync needs no other command before it.

    `ask` allows to ask the feed for them.
    """
    async with services.database.read() as db:
        known = await active_suppliers(db)
    if known:
        return
    if not ask:
        raise NotFound(f"there is no active supplier, so nothing is stored: `{own_name()} sync` comes first")
    new = (await discover(services)).codes
    if not new:
        raise NotFound("there is no active supplier, and the feed names no new one: `promidata-sync feed check`")
    teller.say(f"discovered {counted(len(new), 'supplier')}: {', '.join(new)}")


async def _direct(services: Services, options: SyncOptions, teller: Teller) -> ExitCode:
    """Work and follow at once; an error of the start ends both."""
    begun: asyncio.Future[list[Started]] = asyncio.get_running_loop().create_future()
    async with together() as group:
        group.create_task(sync_direct(services, options.request, tell=begun.set_result))
        runs = await follow(services, [run.run_id for run in await begun], teller)
    return _finish(runs, options, teller)


async def _dry_run(services: Services, options: SyncOptions, teller: Teller) -> ExitCode:
    looks = await dry_run(services, options.request)
    if options.as_json:
        tell_json(looks)
    elif looks:
        teller.show(dry_run_table(looks))
        for look in looks:
            _say_skus(look, teller)
            _say_guard(look, teller)
    else:
        teller.say(f"no supplier is known yet: `{own_name()} sync` discovers them")
    return ExitCode.OK


def _say_skus(look: DryRun, teller: Teller) -> None:
    for kind, skus in look.skus.items():
        if skus:
            shown = in_one_line(", ".join(skus))
            teller.say(f"{look.supplier} {kind}: {shown}{', ...' if look.manifest[kind] > len(skus) else ''}")


def _say_guard(look: DryRun, teller: Teller) -> None:
    if look.guard is not None:
        held = f"{look.guard['wouldRemove']} of {look.guard['active']}"
        teller.say(f"{look.supplier}: the guard would hold the removal of {held} families back until it is confirmed")


async def _watch(services: Services, started: Sequence[Started], options: SyncOptions, teller: Teller) -> ExitCode:
    for run in started:
        if not run.started:
            teller.say(f"{run.supplier}: a run is under way already, following that one")
    try:
        runs = await follow(services, [run.run_id for run in started], teller, only_if_read=True)
    except asyncio.CancelledError:
        remark(f"no longer watching; the sync goes on. `{own_name()} runs` shows how far it is")
        raise
    return _finish(runs, options, teller)


def _finish(runs: Sequence[Run], options: SyncOptions, teller: Teller) -> ExitCode:
    if options.as_json:
        tell_json([shown_json(run) for run in runs])
    else:
        teller.show(summary_table(runs))
        for run in runs:
            for line in (*error_lines(run, own_name()), *guard_lines(run, own_name())):
                teller.say(line)
    return exit_code_of(run.status for run in runs)


def _say_started(started: Sequence[Started], options: SyncOptions, teller: Teller) -> None:
    if options.as_json:
        tell_json(
            [
                {
                    "supplier": run.supplier,
                    "runId": run.run_id,
                    "jobId": run.job_id,
                    "status": "enqueued" if run.started else "already-running",
                }
                for run in started
            ]
        )
        return
    for run in started:
        teller.say(f"{run.supplier}: {'enqueued' if run.started else 'already running'}, run {run.run_id}")
    teller.say(f"`{own_name()} runs` shows how far they are; --watch would have followed them")
