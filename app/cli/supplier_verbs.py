"""Carrying out what `supplier_commands` took: the functions behind the API's verbs, and what they come to in words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

from app.catalogue.schedule import next_runs
from app.cli.acting import act_of
from app.cli.bodies import body_of
from app.cli.surroundings import with_services
from app.cli.telling import Teller, in_one_line, own_name, tell_json
from app.persistence.supplier_records import SupplierRow
from app.sync.operating import suppliers
from app.sync.services import Services
from app.views.bodies import NewSupplier, SupplierChanges
from app.views.shapes import shown_json
from app.views.suppliers import Supplier, supplier_out

PLANNED = 5


def add(given: Mapping[str, object], *, as_json: bool) -> None:
    """Add a supplier.

    Raises:
        Conflict: its code or documentId is taken.
        FieldInvalid: a part of it makes no sense.
        DatabaseUnavailable: it is away; says which address was tried.
    """
    added = _done(
        "createSupplier",
        str(given["code"]),
        lambda services: suppliers.create_supplier(services.database, body_of(NewSupplier, **given)),
    )
    _tell(added, f"{added.code} is added; `{own_name()} sync {added.code}` syncs it", as_json=as_json)


def set_active(supplier: str, *, active: bool, as_json: bool) -> None:
    """Switch one on or off.

    Raises:
        NotFound: there is no such supplier.
        DatabaseUnavailable: it is away; says which address was tried.
    """
    changed = _change(supplier, {"isActive": active})
    _tell(changed, f"{changed.code} is {'active' if active else 'inactive: no sync of it is started'}", as_json=as_json)


def change(supplier: str, changes: Mapping[str, object], *, as_json: bool) -> None:
    """Set its name, or its removal guard's share; None for the default.

    Raises:
        NotFound: there is no such supplier.
        FieldInvalid: a part of it makes no sense.
        DatabaseUnavailable: it is away; says which address was tried.
    """
    changed = _change(supplier, changes)
    share = f"{changed.removal_guard_share:.4g}"
    _tell(changed, in_one_line(f"{changed.code} is called {changed.name}; its guard is {share}"), as_json=as_json)


def set_schedule(supplier: str, changes: Mapping[str, object], *, as_json: bool) -> None:
    """Set what is in `changes`, if anything, and say when it is synced next.

    Raises:
        NotFound: there is no such supplier.
        FieldInvalid: the schedule or the time zone makes no sense.
        DatabaseUnavailable: it is away; says which address was tried.
    """
    found = _change(supplier, changes) if changes else _read(supplier)
    times = next_runs(found.schedule or "", found.time_zone, datetime.now(UTC), PLANNED)
    if as_json:
        tell_json({**shown_json(found), "nextRuns": [f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in times]})
        return
    teller = Teller()
    if found.schedule is None:
        teller.say(f"{found.code} has no schedule: it is synced when somebody says so")
        return
    idle = "" if found.is_active else "; not before it is active"
    teller.say(in_one_line(f"{found.code} is synced by {found.schedule} in {found.time_zone}{idle}; next, in UTC:"))
    for at in times:
        teller.say(f"    {at:%a %Y-%m-%d %H:%M}")


def reset(supplier: str, *, as_json: bool) -> None:
    """Take everything of one as unknown.

    Raises:
        NotFound: there is no such supplier.
        DatabaseUnavailable: it is away; says which address was tried.
    """
    found = _done("resetSupplier", supplier, lambda services: suppliers.reset_supplier(services.database, supplier))
    _tell(found, f"everything of {found.code} is unknown: the next sync fetches and writes it anew", as_json=as_json)


def _change(supplier: str, changes: Mapping[str, object]) -> Supplier:
    def work(services: Services) -> Awaitable[SupplierRow]:
        return suppliers.update_supplier(services.database, supplier, body_of(SupplierChanges, **changes))

    return _done("updateSupplier", supplier, work)


def _done(action: str, target: str, work: Callable[[Services], Awaitable[SupplierRow]]) -> Supplier:
    async def shown(services: Services) -> Supplier:
        return supplier_out(services.settings, await work(services))

    return with_services(shown, act_of(action, target))


def _read(supplier: str) -> Supplier:
    async def read(services: Services) -> Supplier:
        async with services.database.read() as db:
            return supplier_out(services.settings, await suppliers.found_supplier(db, supplier))

    return with_services(read)


def _tell(supplier: Supplier, line: str, *, as_json: bool) -> None:
    if as_json:
        tell_json(shown_json(supplier))
    else:
        Teller().say(line)
