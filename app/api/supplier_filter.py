"""A supplier that is named to filter a list must exist: an empty list would hide that it was mistyped."""

from __future__ import annotations

from app.errors import NotFound
from app.persistence.database import Connection
from app.persistence.suppliers import find_supplier


async def know_supplier(db: Connection, supplier: str | None) -> None:
    """See that there is this supplier, by `documentId` or code, where one is named.

    Raises:
        NotFound: there is none.
    """
    if supplier is not None and await find_supplier(db, supplier) is None:
        raise NotFound(f"there is no supplier {supplier}")
