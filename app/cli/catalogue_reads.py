"""`promidata-sync explain`: why a product is as it is."""

from __future__ import annotations

from app.cli.named import know_supplier, with_supplier_asked
from app.cli.surroundings import with_services
from app.cli.telling import Teller, in_one_line, tell_json
from app.sync.services import Services
from app.views.explained import Document, Explained, explain
from app.views.shapes import shown_json


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
    for document in found.documents:
        _say_document(document, teller)
    if found.last_run is not None:
        teller.say(f"last run of {found.supplier}: {found.last_run.id}, {found.last_run.status}")
    if found.last_error is not None:
        teller.say(in_one_line(f"last error: {found.last_error}"))
    teller.say(f"pictures: {found.pictures_pending} pending, {found.pictures_failed} failed")


def _say_document(document: Document, teller: Teller) -> None:
    seen, fetched, applied = (
        value or "none" for value in (document.seen_hash, document.fetched_hash, document.applied_hash)
    )
    gone = "" if document.present else ", no longer in the manifest"
    teller.say(in_one_line(f"{document.file_name}: {_state(document)}{gone}"))
    teller.say(f"    hash seen     {seen}")
    teller.say(f"    hash fetched  {fetched}")
    teller.say(f"    hash applied  {applied}")


def _state(document: Document) -> str:
    if document.suspect:
        return "suspect, read once more by the next sync"
    if document.failures:
        return f"failed {document.failures} times"
    return "applied" if document.seen_hash == document.applied_hash else "to be taken by the next sync"
