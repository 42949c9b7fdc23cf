"""Who is told: `webhooks`, what was delivered to one, and what is done to it.

what was typed ─▶ webhook_verbs ─▶ app/sync/operating/webhooks.py, as the API does
"""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.exits import EPILOG

webhooks_app = typer.Typer(help="List the webhooks; or add, delete or try one.", epilog=EPILOG)
Json = Annotated[bool, typer.Option("--json", help="One JSON document, for scripts.")]
WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK_ID", help="As `webhooks` lists it.")]
Events = Annotated[
    list[str] | None,
    typer.Option(
        "--event",
        metavar="EVENT",
        autocompletion=lambda: ["run.finished", "catalogue.changed"],
        help="What it is told of: run.finished or catalogue.changed; may be repeated, both without.",
    ),
]


@webhooks_app.callback(invoke_without_command=True)
def webhooks(context: typer.Context, *, json: Json = False) -> None:
    """List the webhooks, the newest first; or add, activate, deactivate, delete or try one."""
    if context.invoked_subcommand is not None:
        if json:
            raise typer.BadParameter(f"stands behind {context.invoked_subcommand}, or goes with the list alone")
        return
    from app.cli import webhook_verbs

    webhook_verbs.show_webhooks(as_json=json)


@webhooks_app.command(epilog=EPILOG)
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where the messages go.")],
    *,
    events: Events = None,
    inactive: Annotated[bool, typer.Option("--inactive", help="It is told nothing until it is active.")] = False,
    json: Json = False,
) -> None:
    """Add one, and show the secret that its messages are signed with; it is not shown again."""
    from app.cli import webhook_verbs

    webhook_verbs.add(url, list(events or []), active=not inactive, as_json=json)


@webhooks_app.command(epilog=EPILOG)
def activate(webhook_id: WebhookId, *, json: Json = False) -> None:
    """Tell it again; what waited for it is sent."""
    from app.cli import webhook_verbs

    webhook_verbs.set_active(webhook_id, active=True, as_json=json)


@webhooks_app.command(epilog=EPILOG)
def deactivate(webhook_id: WebhookId, *, json: Json = False) -> None:
    """Tell it nothing any more; what waits for it is kept."""
    from app.cli import webhook_verbs

    webhook_verbs.set_active(webhook_id, active=False, as_json=json)


@webhooks_app.command(epilog=EPILOG)
def delete(webhook_id: WebhookId, *, json: Json = False) -> None:
    """Delete it with its deliveries."""
    from app.cli import webhook_verbs

    webhook_verbs.delete(webhook_id, as_json=json)


@webhooks_app.command(epilog=EPILOG)
def deliveries(
    webhook_id: WebhookId,
    *,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 20,
    json: Json = False,
) -> None:
    """List what was sent to it, the newest first, with its tries."""
    from app.cli import webhook_verbs

    webhook_verbs.show_deliveries(webhook_id, limit=limit, as_json=json)


@webhooks_app.command(epilog=EPILOG)
def retry(
    webhook_id: WebhookId,
    delivery_id: Annotated[str, typer.Argument(metavar="DELIVERY_ID", help="As `webhooks deliveries` lists it.")],
    *,
    json: Json = False,
) -> None:
    """Send a delivery again, under the id that it had."""
    from app.cli import webhook_verbs

    webhook_verbs.retry(webhook_id, delivery_id, as_json=json)


@webhooks_app.command(epilog=EPILOG)
def ping(webhook_id: WebhookId, *, json: Json = False) -> None:
    """Send a signed test message now, and say what the receiver made of it; exit code 1 when it did not take it."""
    from app.cli import webhook_verbs

    raise typer.Exit(webhook_verbs.ping(webhook_id, as_json=json))
