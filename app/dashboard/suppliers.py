"""Suppliers: found, added, switched on and off, planned, tried, synced, reset."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from app.api import suppliers as api
from app.api.answer_in_time import takes_long
from app.api.auth import Caller
from app.api.schemas import ServicesNeeded, Typed, services_of
from app.catalogue.schedule import next_runs
from app.dashboard.entering import Keeper, PageRoute, Reader, Starter
from app.dashboard.forms import Form, Outcome, done
from app.dashboard.showing import show
from app.dashboard.wording import counted, segment
from app.errors import NotFound
from app.persistence import run_lists, supplier_records
from app.sync.operating.discovery import check_feed
from app.sync.operating.dry_run import dry_run as try_out
from app.sync.operating.start import StartRequest
from app.views.bodies import NewSupplier, SupplierChanges
from app.views.progress import stages
from app.views.runs import run_out
from app.views.suppliers import supplier_out

router = APIRouter(include_in_schema=False, route_class=PageRoute)

MOST_SUPPLIERS = 500
RUNS_SHOWN = 8
PLANNED = 5
Code = Annotated[str, Path(alias="code")]


@router.get("/suppliers")
async def get_suppliers(*, request: Request, services: ServicesNeeded, caller: Reader, after: Typed = "") -> Response:
    """All suppliers by code, and what the manifest names."""
    async with services.database.quick() as db:
        rows = await supplier_records.list_suppliers(db, after_code=after, limit=MOST_SUPPLIERS + 1)
    shown = [supplier_out(services.settings, row) for row in rows[:MOST_SUPPLIERS]]
    following = shown[-1].code if len(rows) > MOST_SUPPLIERS else None
    return show(request, caller, "suppliers.html", title="Suppliers", suppliers=shown, following=following)


@router.post("/suppliers/discover", name="discoverSuppliers")
async def discover(request: Request, services: ServicesNeeded, caller: Keeper, _: Form) -> Response:
    """Add the suppliers that the manifest names."""
    takes_long(request)

    async def work() -> Outcome:
        found = await api.discover_suppliers(request, services, caller)
        codes = ", ".join(supplier.code for supplier in found.items[:20])
        said = f"{found.added} new: {codes}" if found.added else "The manifest names no supplier that is new."
        if found.passed_over:
            said += f" Not added, since another supplier has it as its documentId: {', '.join(found.passed_over[:20])}"
        return Outcome(said)

    return await done(request, "/suppliers", work())


@router.post("/suppliers/check-feed", name="checkFeed")
async def try_feed(request: Request, services: ServicesNeeded, _: Keeper, __: Form) -> Response:
    """Read the manifest and say what is in it."""
    takes_long(request)

    async def work() -> Outcome:
        found = await check_feed(services)
        odd = f", {counted(found.invalid, 'line', 'lines')} could not be read" if found.invalid else ""
        documents = counted(found.entries, "document", "documents")
        return Outcome(
            f"The feed answers: {documents} of {counted(len(found.suppliers), 'supplier', 'suppliers')}{odd}."
        )

    return await done(request, "/suppliers", work())


@router.post("/suppliers", name="createSupplier")
async def add_supplier(request: Request, services: ServicesNeeded, caller: Keeper, form: Form) -> Response:
    """Add one by hand."""

    async def work() -> Outcome:
        body = NewSupplier.model_validate({"code": form.get("code", ""), "name": form.get("name") or None})
        added = await api.create_supplier(request, services.database, caller, body)
        return Outcome(f"{added.code} was added.", f"/suppliers/{segment(added.code)}")

    return await done(request, "/suppliers", work())


@router.get("/suppliers/{code:segment}/dry-run")
async def get_dry_run(request: Request, code: Code, services: ServicesNeeded, caller: Starter) -> Response:
    """What a sync would do, decided from the manifest alone."""
    takes_long(request)
    (found,) = await try_out(services, StartRequest(code, trigger="dashboard"))
    return show(request, caller, "dry_run.html", title=f"Dry run of {found.supplier}", found=found)


@router.get("/suppliers/{code:segment}")
async def get_supplier(
    *,
    request: Request,
    code: Code,
    services: ServicesNeeded,
    caller: Reader,
    schedule: str | None = None,
    timeZone: str | None = None,  # noqa: N803  the parameter's name
) -> Response:
    """One supplier; with `schedule` and `timeZone` when a schedule would run, before it is saved."""
    values = await _read(services, code)
    supplier = values["supplier"]
    wanted = (supplier.schedule or "") if schedule is None else schedule.strip()
    zone = timeZone or supplier.time_zone
    planned, complaint = plan(wanted, zone)
    return show(
        request,
        caller,
        "supplier.html",
        title=f"Supplier {supplier.code}",
        schedule=wanted,
        time_zone=zone,
        planned=planned,
        complaint=complaint,
        is_preview=schedule is not None,
        **values,
    )


async def _read(services: ServicesNeeded, code: str) -> dict[str, Any]:
    async with services.database.read() as db:
        row = await supplier_records.find_supplier_row(db, code)
        if row is None:
            raise NotFound(f"there is no supplier {code}")
        runs = await run_lists.list_runs(db, supplier=row.code, status=None, after=None, limit=RUNS_SHOWN)
    shown = [run_out(services.settings, run) for run in runs]
    running = [{"run": run, "stages": stages(run)} for run in shown if run.finished_at is None]
    return {"supplier": supplier_out(services.settings, row), "runs": shown, "running": running}


def plan(schedule: str, time_zone: str) -> tuple[list[datetime], str | None]:
    """The next five times of a schedule, or what is wrong with it."""
    try:
        return next_runs(schedule, time_zone, datetime.now(UTC), PLANNED), None
    except ValueError as error:
        return [], str(error)


@router.post("/suppliers/{code:segment}/schedule", name="updateSupplier")
async def save_schedule(request: Request, code: Code, caller: Keeper, form: Form) -> Response:
    """Plan its syncs, or leave them to be started by hand."""
    schedule = form.get("schedule") or None
    said = "The schedule is saved." if schedule else "No schedule: it is synced when somebody says so."
    changes = {"schedule": schedule, "timeZone": form.get("timeZone") or "UTC"}
    return await _change(request, code, caller, changes, said)


@router.post("/suppliers/{code:segment}/active", name="updateSupplier")
async def set_active(request: Request, code: Code, caller: Keeper, form: Form) -> Response:
    """Switch it on or off."""
    active = form.get("active") == "yes"
    said = "It is active." if active else "It is inactive: no sync of it is started."
    return await _change(request, code, caller, {"isActive": active}, said)


@router.post("/suppliers/{code:segment}/guard", name="updateSupplier")
async def set_guard(request: Request, code: Code, caller: Keeper, form: Form) -> Response:
    """How much may disappear at once; nothing is the default."""
    percent = form.get("percent")
    share = None
    if percent:
        try:
            share = float(percent) / 100
        except ValueError:
            share = -1.0  # which the API refuses in its own words
    return await _change(request, code, caller, {"removalGuardShare": share}, "The guard is set.")


@router.post("/suppliers/{code:segment}/reset", name="resetSupplier")
async def reset(request: Request, code: Code, services: ServicesNeeded, caller: Keeper, _: Form) -> Response:
    """Take everything of it as unknown."""

    async def work() -> Outcome:
        await api.reset_supplier(request, code, services.database, caller)
        return Outcome("Everything of it counts as unknown: the next sync fetches and writes it anew.")

    return await done(request, f"/suppliers/{segment(code)}", work())


async def _change(request: Request, code: str, caller: Caller, changes: dict[str, Any], said: str) -> Response:
    async def work() -> Outcome:
        body = SupplierChanges.model_validate(changes)
        await api.update_supplier(request, code, services_of(request).database, caller, body)
        return Outcome(said)

    return await done(request, f"/suppliers/{segment(code)}", work())
