"""What somebody names on the command line is looked up first: an empty answer would hide that it was mistyped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from app.cli.telling import own_name
from app.errors import Conflict, NotFound, SeveralSuppliers
from app.persistence import run_lists
from app.persistence.suppliers import find_supplier
from app.sync.services import Services
from app.views.ids import uuid_in
from app.views.runs import Run, run_out

T = TypeVar("T")


async def know_supplier(services: Services, supplier: str | None) -> None:
    """See that there is this supplier, where one is named.

    Raises:
        NotFound: there is none; says what lists them.
    """
    if supplier is None:
        return
    async with services.database.read() as db:
        if await find_supplier(db, supplier) is None:
            raise NotFound(f"there is no supplier {supplier}; `{own_name()} suppliers` lists them")


def with_supplier_asked(read: Callable[[Services], Awaitable[T]]) -> Callable[[Services], Awaitable[T]]:
    """`read`, which says how to name a supplier where several have what it reads.

    Raises:
        Conflict: several suppliers have it, and none was named.
    """

    async def asking(services: Services) -> T:
        try:
            return await read(services)
        except SeveralSuppliers as error:
            raise Conflict(f"{error}: name one with --supplier") from None

    return asking


async def read_runs(services: Services, run_ids: Sequence[str]) -> list[Run]:
    """The runs as the ledger has them, of one moment.

    Raises:
        NotFound: one of them is not there; says what lists them.
    """
    ids = [uuid_in(run_id) for run_id in run_ids]
    async with services.database.read() as db:
        rows = {str(row["id"]): row for row in await run_lists.find_runs(db, [known for known in ids if known])}
    for run_id, known in zip(run_ids, ids, strict=True):
        if known not in rows:
            raise NotFound(f"there is no run {run_id}; `{own_name()} runs` lists them")
    return [run_out(services.settings, rows[known]) for known in ids if known]
