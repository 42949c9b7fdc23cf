"""Who is synced, and when: `suppliers`, and what is done to one of them.

what was typed ─▶ supplier_verbs ─▶ app/sync/operating/suppliers.py, as the API does
"""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.exits import EPILOG

suppliers_app = typer.Typer(help="List the suppliers, with schedule and last run; or change one.", epilog=EPILOG)
Json = Annotated[bool, typer.Option("--json", help="One JSON document, for scripts.")]
Supplier = Annotated[str, typer.Argument(metavar="SUPPLIER", help="Its code or documentId.")]
Cron = Annotated[str | None, typer.Option("--schedule", help="When it is synced: five fields, such as '30 3 * * *'.")]
Zone = Annotated[str | None, typer.Option("--time-zone", help="Of the schedule: Europe/Amsterdam; UTC without.")]

Guard = Annotated[
    float | None, typer.Option("--guard", min=0, max=1, help="How much may disappear at once, as a share: 0.2.")
]


@suppliers_app.callback(invoke_without_command=True)
def suppliers(
    context: typer.Context,
    *,
    ask_feed: Annotated[bool, typer.Option("--discover", help="First add those that the feed names.")] = False,
    json: Json = False,
) -> None:
    """List the suppliers, with schedule and last run; or add, activate, deactivate, schedule or reset one."""
    if context.invoked_subcommand is not None:
        if ask_feed or json:
            raise typer.BadParameter(f"stands behind {context.invoked_subcommand}, or goes with the list alone")
        return
    from app.cli.supplier_reads import show_suppliers

    show_suppliers(ask_feed=ask_feed, as_json=json)


@suppliers_app.command(epilog=EPILOG)
def add(
    code: Annotated[str, typer.Argument(metavar="CODE", help="Its code in the manifest, such as A360.")],
    *,
    name: Annotated[str | None, typer.Option(help="What people call it; its code without.")] = None,
    document_id: Annotated[str | None, typer.Option(help="Its id elsewhere; a new one without.")] = None,
    inactive: Annotated[bool, typer.Option("--inactive", help="No sync of it is started until it is active.")] = False,
    schedule: Cron = None,
    time_zone: Zone = None,
    guard: Guard = None,
    json: Json = False,
) -> None:
    """Add a supplier by hand; `suppliers --discover` adds those that the feed names."""
    from app.cli import supplier_verbs

    given = {
        "code": code, "name": name, "documentId": document_id, "isActive": False if inactive else None,
        "schedule": schedule, "timeZone": time_zone, "removalGuardShare": guard,
    }  # fmt: skip
    supplier_verbs.add({field: value for field, value in given.items() if value is not None}, as_json=json)


@suppliers_app.command(epilog=EPILOG)
def activate(supplier: Supplier, *, json: Json = False) -> None:
    """Let it be synced; its schedule counts from now on, and goes on where it was paused."""
    from app.cli import supplier_verbs

    supplier_verbs.set_active(supplier, active=True, as_json=json)


@suppliers_app.command(epilog=EPILOG)
def deactivate(supplier: Supplier, *, json: Json = False) -> None:
    """Start no sync of it any more; what it brought stays, and a run that is under way goes on."""
    from app.cli import supplier_verbs

    supplier_verbs.set_active(supplier, active=False, as_json=json)


@suppliers_app.command(epilog=EPILOG)
def schedule(
    supplier: Supplier,
    cron: Annotated[str | None, typer.Argument(metavar="CRON", help="Five fields: '30 3 * * *'.")] = None,
    *,
    time_zone: Zone = None,
    by_hand: Annotated[bool, typer.Option("--none", help="No schedule: it is synced when somebody says so.")] = False,
    json: Json = False,
) -> None:
    """Set when it is synced, and say the next five times; without CRON only say them."""
    if by_hand and cron is not None:
        raise typer.BadParameter("and a schedule exclude each other: give one of them", param_hint="--none")
    from app.cli import supplier_verbs

    changes: dict[str, object] = {} if time_zone is None else {"timeZone": time_zone}
    if by_hand or cron is not None:
        changes["schedule"] = cron
    supplier_verbs.set_schedule(supplier, changes, as_json=json)


@suppliers_app.command("set", epilog=EPILOG)
def change(
    supplier: Supplier,
    *,
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    guard: Guard = None,
    usual_guard: Annotated[
        bool, typer.Option("--default-guard", help="REMOVAL_GUARD_SHARE is to hold for it.")
    ] = False,
    json: Json = False,
) -> None:
    """Set its name, or how much may disappear at once."""
    if usual_guard and guard is not None:
        raise typer.BadParameter("and --guard exclude each other: give one of them", param_hint="--default-guard")
    if name is None and guard is None and not usual_guard:
        raise typer.BadParameter("give at least one of --name, --guard, --default-guard")
    from app.cli import supplier_verbs

    changes: dict[str, object] = {} if name is None else {"name": name}
    if guard is not None or usual_guard:
        changes["removalGuardShare"] = guard
    supplier_verbs.change(supplier, changes, as_json=json)


@suppliers_app.command(epilog=EPILOG)
def reset(supplier: Supplier, *, json: Json = False) -> None:
    """Take everything of it as unknown: the next sync fetches and writes it anew. Nothing is deleted."""
    from app.cli import supplier_verbs

    supplier_verbs.reset(supplier, as_json=json)
