"""`promidata-sync suppliers`: who is synced, when, and what came of it last."""

from __future__ import annotations

from rich.text import Text

from app.cli.acting import act_of
from app.cli.run_tables import STYLES
from app.cli.surroundings import with_services
from app.cli.telling import Teller, in_one_line, own_name, tell_json
from app.persistence import supplier_records
from app.persistence.supplier_records import SupplierRow
from app.sync.operating.discovery import discover
from app.sync.services import Services
from app.views.shapes import shown_json
from app.views.suppliers import LastRun, Supplier, supplier_out

PAGE = 500


def show_suppliers(*, ask_feed: bool, as_json: bool) -> None:
    """Print all suppliers; `ask_feed` adds those first that the manifest names.

    Raises:
        DatabaseUnavailable: it is away; says which address was tried.
        OriginUnavailable, OriginRefused, ManifestUnreadable: the manifest could not be had or read, and why.
        SettingsError: the manifest is wanted, and PROMIDATA_BASE_URL is not set.
    """

    async def work(services: Services) -> tuple[list[str], list[Supplier]]:
        new = (await discover(services)).codes if ask_feed else []
        return new, [supplier_out(services.settings, row) for row in await _all(services)]

    new, rows = with_services(work, act_of("discoverSuppliers") if ask_feed else None)
    if as_json:
        tell_json([{**shown_json(row), "isNew": row.code in new} for row in rows])
        return
    teller = Teller()
    if rows:
        for row in rows:
            _say_supplier(row, teller)
    else:
        teller.say(f"no suppliers; `{own_name()} suppliers --discover` adds those that the feed names")
    if ask_feed:
        teller.say(f"new: {', '.join(new)}" if new else "the feed names no new one")


async def _all(services: Services) -> list[SupplierRow]:
    rows: list[SupplierRow] = []
    async with services.database.read() as db:
        while page := await supplier_records.list_suppliers(db, after_code=rows[-1].code if rows else "", limit=PAGE):
            rows += page
    return rows


def _say_supplier(row: Supplier, teller: Teller) -> None:
    """In lines: an id that is cut is none, and a table of 80 columns would cut it."""
    name = "" if row.name == row.code else f"  {in_one_line(row.name)}"
    teller.say(Text(f"{row.code}{name}").append("" if row.is_active else "  inactive", "yellow"))
    teller.say(f"    {_plan(row)}")
    if row.schedule_paused_reason:
        teller.say(f"    paused: {in_one_line(row.schedule_paused_reason)}")
    if row.last_run is not None:
        _say_last_run(row.last_run, teller)


def _plan(row: Supplier) -> str:
    if row.schedule is None:
        return "synced by hand"
    following = "" if row.next_run_at is None else f", next run {row.next_run_at:%Y-%m-%d %H:%M} UTC"
    return f"synced by {row.schedule} {row.time_zone}{following}"


def _say_last_run(run: LastRun, teller: Teller) -> None:
    said = Text(f"    last run {run.id}  ").append(run.status, STYLES.get(run.status, ""))
    teller.say(said)
    if run.error:
        teller.say(f"        {in_one_line(run.error)}")
