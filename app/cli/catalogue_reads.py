"""`promidata-sync suppliers` and `explain`: who is synced, and why a product is as it is."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from app.cli.acting import act_of
from app.cli.named import know_supplier, with_supplier_asked
from app.cli.run_tables import STYLES
from app.cli.surroundings import with_services
from app.cli.telling import Teller, in_one_line, own_name, tell_json
from app.persistence import supplier_records
from app.persistence.supplier_records import SupplierRow
from app.sync.operating.discovery import discover
from app.sync.services import Services
from app.views.explained import Document, Explained, explain
from app.views.shapes import shown_json
from app.views.suppliers import Supplier, supplier_out

PAGE = 500


def show_suppliers(*, ask_feed: bool, as_json: bool) -> None:
    """Print all suppliers; `ask_feed` adds those first that the manifest names.

    Raises:
        DatabaseUnavailable: it is away; says which address was tried.
        OriginUnavailable, OriginRefused, ManifestUnreadable: the manifest could not be had or read, and why.
        SettingsError: the manifest is wanted, and PROMIDATA_BASE_URL is not set.
    """

    async def work(services: Services) -> tuple[list[str], list[Supplier]]:
        new = await discover(services) if ask_feed else []
        return new, [supplier_out(services.settings, row) for row in await _all(services)]

    new, rows = with_services(work, act_of("discoverSuppliers") if ask_feed else None)
    if as_json:
        tell_json([{**shown_json(row), "isNew": row.code in new} for row in rows])
        return
    teller = Teller()
    if rows:
        teller.show(_suppliers_table(rows))
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


def _suppliers_table(rows: list[Supplier]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("code", "name", "active", "schedule", "next run (UTC)", "last run"):
        table.add_column(name, no_wrap=name != "name")
    table.add_column("error", overflow="fold")
    for row in rows:
        status, error = ("", None) if row.last_run is None else (row.last_run.status, row.last_run.error)
        paused = " (paused)" if row.schedule_paused_at else ""
        table.add_row(
            Text(row.code),
            Text(row.name),
            "yes" if row.is_active else "no",
            f"{row.schedule} {row.time_zone}{paused}" if row.schedule else "",
            f"{row.next_run_at:%Y-%m-%d %H:%M}" if row.next_run_at else "",
            Text(status, style=STYLES.get(status, "")),
            Text(row.schedule_paused_reason or error or ""),
        )
    return table


def show_explained(sku: str, *, supplier: str | None, as_json: bool) -> None:
    """Print what is known about how a product came about.

    Raises:
        NotFound: neither a product nor a document has this SKU, or there is no such supplier.
        Conflict: several suppliers have it, and none was named.
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def read(services: Services) -> Explained:
        await know_supplier(services, supplier)
        return await explain(services.settings, services.database, sku, supplier)

    found = with_services(with_supplier_asked(read))
    if as_json:
        tell_json(shown_json(found))
        return
    teller = Teller()
    teller.say(f"{in_one_line(found.sku)} of {found.supplier}: {found.status or 'never written'}")
    teller.show(_documents_table(found))
    if found.last_run is not None:
        teller.say(f"last run of {found.supplier}: {found.last_run.id}, {found.last_run.status}")
    if found.last_error is not None:
        teller.say(f"last error: {found.last_error}")
    teller.say(f"pictures: {found.pictures_pending} pending, {found.pictures_failed} failed")


def _documents_table(found: Explained) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("document", "in the manifest", "seen", "fetched", "applied", "state"):
        table.add_column(name, no_wrap=True)
    for document in found.documents:
        hashes = (document.seen_hash, document.fetched_hash, document.applied_hash)
        present = "yes" if document.present else "no"
        table.add_row(
            Text(in_one_line(document.file_name)), present, *[(value or "")[:12] for value in hashes], _state(document)
        )
    return table


def _state(document: Document) -> str:
    if document.suspect:
        return "suspect, read once more by the next sync"
    if document.failures:
        return f"failed {document.failures} times"
    return "applied" if document.seen_hash == document.applied_hash else "to be taken by the next sync"
