"""What `up` does with the feed once everything is ready.

sample feed                 discover ─▶ sync all ─▶ a summary a supplier
feed of the user's own      discover ─▶ the entries a supplier, and the command for one; all only with --sync-all
"""

from __future__ import annotations

import time

from rich.box import SIMPLE_HEAD
from rich.table import Table

from app import traces
from app.cli.acting import act_of
from app.cli.follow import follow
from app.cli.programs import Feed
from app.cli.run_tables import error_lines, summary_table
from app.cli.telling import Teller, own_name
from app.persistence.audit import acting
from app.persistence.product_lists import count_catalogue
from app.settings import Settings
from app.sync.operating.discovery import FeedCheck, check_feed, discover
from app.sync.operating.start import StartRequest, start_queued
from app.sync.services import Services
from app.wording import counted

COMMAND_FOR = 3
"""Suppliers for which the command is printed."""


async def begin_with(services: Services, feed: Feed, teller: Teller, *, sync_all: bool) -> None:
    """Discover the suppliers and sync them, or say how to.

    Raises:
        OriginUnavailable, OriginRefused, ManifestUnreadable: the feed could not be read, and why.
        OutageError: a part of ours is away.
    """
    with teller.during("reading the feed's manifest"), acting(act_of("discoverSuppliers")):
        new = (await discover(services)).codes
    teller.say(f"discovered {len(new)} new suppliers" if new else "all suppliers of the feed are known")
    if feed.port is None:
        check = await check_feed(services)
        teller.show(entries_table(check))
        if not sync_all:
            _say_commands(services.settings, check, teller)
            return
    await sync_everything(services, teller)


async def sync_everything(services: Services, teller: Teller) -> None:
    """Sync all active suppliers and say what came of it."""
    began = time.monotonic()
    async with traces.exporting(services.settings, "up"):
        with acting(act_of("startSync")):
            started = await start_queued(services, StartRequest(trigger="cli"))
    runs = await follow(services, [run.run_id for run in started], teller)
    seconds = time.monotonic() - began
    teller.show(summary_table(runs))
    for run in runs:
        for line in error_lines(run, own_name()):
            teller.say(line)
    async with services.database.read() as db:
        totals = await count_catalogue(db)
    teller.say(
        f"synced {counted(len(runs), 'supplier')} in {seconds:.1f} s\n"
        f"in the catalogue: {counted(totals.families, 'family', 'families')}, "
        f"{counted(totals.variants, 'variant')}, {counted(totals.pictures, 'picture')}"
    )


def entries_table(check: FeedCheck) -> Table:
    """The suppliers of a manifest with how many documents each has."""
    table = Table(
        title=f"The feed: {counted(check.entries, 'document')}, {counted(check.invalid, 'invalid line')}",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("supplier")
    table.add_column("documents", justify="right")
    for supplier in check.suppliers:
        table.add_row(supplier.code, str(supplier.entries))
    return table


def _say_commands(settings: Settings, check: FeedCheck, teller: Teller) -> None:
    usual = Settings.model_fields["data_dir"].default.resolve()
    command = own_name() if settings.data_dir == usual else f"DATA_DIR={settings.data_dir} {own_name()}"
    teller.say("nothing is synced yet. In a second terminal, in the same folder, for one supplier:")
    for supplier in check.suppliers[:COMMAND_FOR]:
        teller.say(f"    {command} sync {supplier.code} --watch", whole=True)
    teller.say(f"or for all of them:\n    {command} sync --watch", whole=True)
