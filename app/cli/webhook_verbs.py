"""Carrying out what `webhook_commands` took: the functions behind the API's verbs, and what they come to in words."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from app.cli.acting import act_of
from app.cli.bodies import body_of
from app.cli.exits import ExitCode
from app.cli.surroundings import with_services
from app.cli.telling import Teller, in_one_line, own_name, tell_json
from app.errors import NotFound
from app.notify.sending import Verdict
from app.persistence import webhook_records
from app.sync.operating import webhooks as operating
from app.sync.operating.ping import ping as send_ping
from app.sync.services import Services
from app.views.bodies import NewWebhook, WebhookChanges
from app.views.ids import uuid_in
from app.views.shapes import shown_json
from app.views.webhooks import CreatedWebhook, Delivery, Webhook, delivery_out, webhook_out
from app.wording import counted

MOST = 500
ALL_NUMBERS = 2**63 - 1
STYLES = {"delivered": "green", "failed": "bold red", "pending": "cyan"}


def show_webhooks(*, as_json: bool) -> None:
    """Print the webhooks.

    Raises:
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def read(services: Services) -> list[Webhook]:
        async with services.database.read() as db:
            return [webhook_out(row) for row in await webhook_records.list_webhooks(db, after=None, limit=MOST)]

    found = with_services(read)
    if as_json:
        tell_json([shown_json(webhook) for webhook in found])
        return
    teller = Teller()
    for webhook in found:
        _say_webhook(webhook, teller)
    if not found:
        teller.say(f"no webhooks; `{own_name()} webhooks add URL` adds one")


def _say_webhook(webhook: Webhook, teller: Teller) -> None:
    state = ("active", "green") if webhook.is_active else ("inactive", "yellow")
    teller.say(Text(f"{webhook.id}  ").append(*state))
    teller.say(in_one_line(f"    {webhook.url}"))
    teller.say(f"    told of {' and '.join(webhook.events)}, since {webhook.created_at:%Y-%m-%d %H:%M:%S}")
    if webhook.deactivated_reason:
        teller.say(f"    {in_one_line(webhook.deactivated_reason)}")


def add(url: str, events: Sequence[str], *, active: bool, as_json: bool) -> None:
    """Add one.

    Raises:
        FieldInvalid: its address or events make no sense, or it may not be asked.
        DatabaseUnavailable: it is away; says which address was tried.
    """
    given = {"url": url, "isActive": active, **({"events": list(events)} if events else {})}

    async def work(services: Services) -> CreatedWebhook:
        return await operating.create_webhook(services, body_of(NewWebhook, **given))

    made = with_services(work, act_of("createWebhook"))
    if as_json:
        tell_json(shown_json(made))
        return
    teller = Teller()
    _say_webhook(made, teller)
    teller.say(f"its secret, which is not shown again: {made.secret}")


def set_active(webhook_id: str, *, active: bool, as_json: bool) -> None:
    """Switch one on or off.

    Raises:
        NotFound: there is no such webhook.
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def work(services: Services) -> Webhook:
        body = body_of(WebhookChanges, isActive=active)
        return webhook_out(await operating.update_webhook(services, _known(webhook_id), body))

    end = "told again; what waited is sent" if active else "told nothing; what waits is kept"
    _tell(with_services(work, act_of("updateWebhook", webhook_id)), f"{webhook_id} is {end}", as_json=as_json)


def delete(webhook_id: str, *, as_json: bool) -> None:
    """Delete one with its deliveries.

    Raises:
        NotFound: there is no such webhook.
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def work(services: Services) -> Webhook:
        return webhook_out(await operating.delete_webhook(services.database, _known(webhook_id)))

    _tell(with_services(work, act_of("deleteWebhook", webhook_id)), f"{webhook_id} is deleted", as_json=as_json)


def show_deliveries(webhook_id: str, *, limit: int, as_json: bool) -> None:
    """Print what was sent to one.

    Raises:
        NotFound: there is no such webhook.
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def read(services: Services) -> list[Delivery]:
        async with services.database.read() as db:
            operating.there(await webhook_records.find_webhook(db, _known(webhook_id)), webhook_id)
            rows = await webhook_records.list_deliveries(db, webhook_id, before_number=ALL_NUMBERS, limit=limit)
        return [delivery_out(services.settings, row) for row in rows]

    found = with_services(read)
    if as_json:
        tell_json([shown_json(delivery) for delivery in found])
        return
    teller = Teller()
    for delivery in found:
        _say_delivery(delivery, teller)
    if not found:
        teller.say("nothing was sent to it yet")


def _say_delivery(delivery: Delivery, teller: Teller) -> None:
    tries = counted(delivery.attempts, "attempt")
    following = "" if delivery.next_attempt_at is None else f", next {delivery.next_attempt_at:%Y-%m-%d %H:%M:%S}"
    teller.say(Text(f"{delivery.id}  ").append(delivery.state, STYLES.get(delivery.state, "")))
    teller.say(f"    {delivery.created_at:%Y-%m-%d %H:%M:%S} {delivery.event}, {tries}{following}")
    teller.say(f"    run {delivery.run_id}")
    if delivery.error:
        teller.say(f"    {in_one_line(delivery.error)}")


def retry(webhook_id: str, delivery_id: str, *, as_json: bool) -> None:
    """Send a delivery again.

    Raises:
        NotFound: there is no such webhook or delivery.
        Conflict: it was delivered, or its webhook is not active.
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def work(services: Services) -> Delivery:
        known = _known(delivery_id, "delivery")
        return delivery_out(
            services.settings, await operating.retry_delivery(services.database, _known(webhook_id), known)
        )

    again = with_services(work, act_of("retryDelivery", delivery_id))
    _tell(again, f"{delivery_id} is sent again", as_json=as_json)


def ping(webhook_id: str, *, as_json: bool) -> ExitCode:
    """Send a test message, and say what came of it.

    Raises:
        NotFound: there is no such webhook.
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def work(services: Services) -> Verdict:
        return await send_ping(services, _known(webhook_id))

    verdict = with_services(work, act_of("pingWebhook", webhook_id))
    taken = verdict.kind == "delivered"
    if as_json:
        tell_json({"delivered": taken, "status": verdict.status, "error": verdict.error})
    elif taken:
        Teller().say(f"the ping was taken: the receiver answered {verdict.status}")
    else:
        Teller().say(f"the ping was not taken: {in_one_line(verdict.error or str(verdict.status))}")
    return ExitCode.OK if taken else ExitCode.FAILED


def _known(text: str, what: str = "webhook") -> str:
    """What is no id is an unknown one."""
    known = uuid_in(text)
    if known is None:
        raise NotFound(f"there is no {what} {text}; `{own_name()} webhooks` lists them")
    return known


def _tell(answer: Webhook | Delivery, line: str, *, as_json: bool) -> None:
    if as_json:
        tell_json(shown_json(answer))
    else:
        Teller().say(line)
