"""The whole catalogue as of one moment: what a snapshot knows of itself, and its products in order.

    BEGIN, one snapshot ─▶ head of the change feed ─▶ state of what is meant ─▶ cursor: some products, again and again

The head is exact: a change gets its number after it was committed (ENGINE.md 7), so whatever a snapshot sees numbered
it sees in the catalogue too, and what it sees of later changes is told again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.product_lists import VERSIONED, ProductFilter, ProductKey, Sort, conditions_of, keys_statement
from app.persistence.statements import ask, text

HASHED = "count(*), bit_xor(hashint8extended(id, version))"


async def state_of(db: AsyncConnection, wanted: ProductFilter) -> list[int | None]:
    """A number and a hash that differ as soon as anything differs that readers see of these products.

    Of all products it is read from their versions alone, a few megabytes at 100,000.
    """
    conditions, parameters = conditions_of(wanted)
    members = (
        f"SELECT p.id, COALESCE(pv.version, 0) AS version FROM {VERSIONED} WHERE {' AND '.join(conditions)}"
        if parameters
        else "SELECT product_id AS id, version FROM product_versions"
    )
    row = (await db.execute(text(f"SELECT {HASHED} FROM ({members}) m"), parameters)).one()
    return list(row)


async def in_chunks(
    db: AsyncConnection, wanted: ProductFilter, *, sort: Sort, first: int, then: int
) -> AsyncIterator[list[ProductKey]]:
    """The products that a filter means, in order: `first` of them, then `then` at a time.

    A cursor of the server, so that a filter is worked out once, and nobody holds more than a chunk.
    """
    statement, parameters = keys_statement(wanted, sort=sort)
    await db.execute(text(f"DECLARE exported NO SCROLL CURSOR FOR {statement}"), parameters)
    number = first
    while rows := await ask(db, f"FETCH {number} FROM exported"):
        yield [ProductKey(*row) for row in rows]
        number = then
