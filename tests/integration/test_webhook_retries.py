"""Deliveries that are asked for again, and what is due of them: one try at a time, nothing that nobody would send."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.errors import Conflict
from app.persistence import webhook_records, webhooks
from app.persistence.measures import backlog
from app.settings import Settings
from app.sync.operating.webhooks import retry_delivery, update_webhook
from app.sync.upkeep import webhooks as module
from app.views.bodies import WebhookChanges
from app.views.webhooks import message_of
from tests.support.api_client import api_client
from tests.support.deliveries import add_webhook, deliveries, delivering, hurry, settled, until_numbered
from tests.support.receiver import Receiver, free_port, listening
from tests.support.stack import Stack
from tests.support.waiting import eventually
from tests.support.worker_stack import until


@pytest.mark.parametrize(("tried_before", "of_the_try"), [(10, "its last"), (3, "one of many")])
async def test_a_retry_that_is_asked_for_during_a_try_is_made_after_it(
    stack: Stack, tried_before: int, of_the_try: str
) -> None:
    """`hurry` is not called: what was asked for is done at once, not after the pause of the try that ended."""
    shop = Receiver(free_port(), answers=[500, 204], held_by=asyncio.Event())
    assert shop.held_by is not None
    async with listening(shop), api_client(stack.settings) as api:
        webhook_id = await add_webhook(stack, shop.url, ("run.finished",))
        await stack.sync("A23")
        await set_attempts(stack, tried_before)
        async with delivering(stack):
            await until(lambda: shop.received)
            (row,) = await deliveries(stack)
            asked = await api.post(f"/webhooks/{webhook_id}/deliveries/{row['id']}/retry", expect=202)
            assert (asked["state"], asked["attempts"]) == ("pending", 0)
            assert len(shop.received) == 1, "one try at a time"
            shop.held_by.set()
            await until(lambda: len(shop.received) == 2)
            await settled(stack)
    (row,) = await deliveries(stack)
    assert (row["state"], row["attempts"]) == ("delivered", 1), of_the_try
    assert [attempt["status"] for attempt in row["tries"]] == [500, 204]
    assert len({message.id for message in shop.received}) == 1


async def test_a_delivery_that_meets_a_bug_of_ours_ends_neither_the_others_nor_the_worker(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left to its lease; whoever looks for deliveries also does all that a worker does beside its jobs."""
    shop, met = Receiver(free_port()), list[str]()

    def failing(settings: Settings, event: str, *rest: Any) -> str:
        if not met:
            met.append(event)
            raise RuntimeError("a bug")
        return message_of(settings, event, *rest)

    monkeypatch.setattr(module, message_of.__name__, failing)
    async with listening(shop):
        for _ in range(2):
            await add_webhook(stack, shop.url, ("run.finished",))
        await stack.sync("A23")
        async with delivering(stack):
            await until(lambda: shop.received)
    assert met


async def set_attempts(stack: Stack, attempts: int) -> None:
    async with stack.services.database.begin() as db:
        await db.exec_driver_sql(f"UPDATE deliveries SET attempts = {attempts}")


@pytest.mark.parametrize(("answer", "state"), [(204, "delivered"), (410, "failed")])
async def test_a_try_that_delivers_or_finds_the_receiver_gone_leaves_nothing_to_retry(
    stack: Stack, answer: int, state: str
) -> None:
    shop = Receiver(free_port(), answers=[answer], held_by=asyncio.Event())
    assert shop.held_by is not None
    async with listening(shop), delivering(stack), api_client(stack.settings) as api:
        webhook_id = await add_webhook(stack, shop.url, ("run.finished",))
        await stack.sync("A23")
        await until(lambda: shop.received)
        (row,) = await deliveries(stack)
        await api.post(f"/webhooks/{webhook_id}/deliveries/{row['id']}/retry", expect=202)
        shop.held_by.set()
        await settled(stack)
        (row,) = await deliveries(stack)
        assert row["state"] == state
        assert not await is_anything_due(stack)
    assert len(shop.received) == 1


async def test_a_retry_that_waits_for_a_try_which_deactivates_the_webhook_is_refused(stack: Stack) -> None:
    webhook_id = await add_webhook(stack, "http://127.0.0.1:1/", ("run.finished",))
    await stack.sync("A23")
    (row,) = await deliveries(stack)
    database = stack.services.database
    async with database.begin() as ending:
        await webhook_records.hold_delivery(ending, webhook_id, str(row["id"]))
        asked = asyncio.create_task(retry_delivery(database, webhook_id, str(row["id"])))
        await eventually(lambda: stack.value("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"))
        await webhooks.deactivate(ending, webhook_id, "the receiver answered 410 Gone")
    with pytest.raises(Conflict, match="is not active"):
        await asked
    assert [delivery["state"] for delivery in await deliveries(stack)] == ["failed"]


async def test_what_waits_for_an_inactive_webhook_is_not_due_and_is_sent_once_it_is_active_again(stack: Stack) -> None:
    async with listening(Receiver(free_port(), answers=[500, 200])) as shop:
        webhook_id = await add_webhook(stack, shop.url, ("run.finished",))
        await stack.sync("A23")
        async with delivering(stack):
            await until(lambda: shop.received)
            await settled(stack)
        await hurry(stack)
        await update_webhook(stack.services, webhook_id, WebhookChanges(isActive=False))
        assert not await is_anything_due(stack)
        async with stack.services.database.read() as db:
            assert (await backlog(db)).deliveries_lag_s == 0
        await stack.sync("A23")
        assert len(await deliveries(stack)) == 1, "an inactive webhook is told of no later run"
        await update_webhook(stack.services, webhook_id, WebhookChanges(isActive=True))
        assert await is_anything_due(stack)
        async with delivering(stack):
            await until(lambda: len(shop.received) == 2)
            await settled(stack)
    (row,) = await deliveries(stack)
    assert (row["state"], row["attempts"]) == ("delivered", 2)
    assert {message.id for message in shop.received} == {str(row["id"])}


async def is_anything_due(stack: Stack) -> bool:
    async with stack.services.database.quick() as db:
        return await webhooks.any_due(db)


async def test_nothing_is_due_that_nobody_may_claim_yet(stack: Stack) -> None:
    """One of a webhook is under way, another's changes are not numbered."""
    await add_webhook(stack, "http://127.0.0.1:1/", ("catalogue.changed",))
    await stack.sync("A23")
    await until_numbered(stack)
    async with stack.services.database.begin() as db:
        await db.exec_driver_sql("UPDATE changes SET seq = NULL")
    assert not await is_anything_due(stack)
    async with stack.services.database.begin() as db:
        await db.exec_driver_sql("UPDATE deliveries SET event = 'run.finished'")
    await stack.sync("A360")
    assert await is_anything_due(stack)
    async with stack.services.database.begin() as db:
        assert len(await webhooks.claim_due(db, 10)) == 1
    assert not await is_anything_due(stack)


async def test_two_processes_that_look_at_once_take_one_delivery_of_a_webhook(stack: Stack) -> None:
    await add_webhook(stack, "http://127.0.0.1:1/")
    await stack.sync("A23")
    await until_numbered(stack)
    database = stack.services.database
    async with database.begin() as first:
        taken = await webhooks.claim_due(first, 10)
        async with database.begin() as second:
            assert await webhooks.claim_due(second, 10) == []
    assert [delivery.event for delivery in taken] == ["run.finished"]
    async with database.begin() as later:
        assert await webhooks.claim_due(later, 10) == [], "one is under way"
