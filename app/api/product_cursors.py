"""Cursors of the products' two orders; one of another order is refused."""

from __future__ import annotations

from app.api.cursors import AfterSku, AfterUpdate, from_micros, read_cursor, to_micros, write_cursor
from app.api.problems import ProblemError
from app.persistence.product_lists import After, ProductKey, Sort


def read_after(sort: Sort, cursor: str | None) -> After | None:
    """Where a page begins."""
    if sort == "updatedAt":
        moment = read_cursor(AfterUpdate, cursor)
        return None if moment is None else After(moment.sku, moment.supplier_id, from_micros(moment.micros))
    after = read_cursor(AfterSku, cursor)
    return None if after is None else After(after.sku, after.supplier_id)


def write_after(sort: Sort, last: ProductKey) -> str:
    """The cursor of the page after this product."""
    if sort == "updatedAt":
        return write_cursor(AfterUpdate(to_micros(last.updated_at), last.sku, last.supplier_id))
    return write_cursor(AfterSku(last.sku, last.supplier_id))


def refuse_cursor(cursor: str | None) -> None:
    """See that nobody asks for a page of what has none; an empty cursor asks for none, as on every list."""
    if cursor:
        message = "there are no pages as NDJSON: leave it out"
        raise ProblemError(422, f"cursor: {message}", errors=[{"field": "cursor", "message": message}])
