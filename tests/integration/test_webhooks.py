"""Telling the shop: what is sent once a run ends, to receivers that fail, hang, are gone, or are away (C6, A12)."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from app.persistence import run_lists
from app.settings import Settings
from app.sync.operating import by_hand
from app.sync.operating.webhooks import update_webhook
from app.views.bodies import WebhookChanges
from app.views.webhooks import message_of
from tests.conftest import MakeStack
from tests.support.api_client import api_client
from tests.support.deliveries import BOTH, SECRET, add_webhook, deliveries, delivering, hurry, settled, until_numbered
from tests.support.ledger_rows import add_run
from tests.support.receiver import Receiver, free_port, listening
from tests.support.stack import Servers, Stack
from tests.support.waiting import eventually
from tests.support.worker_stack import until, worker_stack


async def test_a_run_and_its_changes_are_told_with_a_signature_that_the_shop_can_verify(stack: Stack) -> None:
    async with listening(Receiver(free_port())) as shop, delivering(stack):
        await add_webhook(stack, shop.url)
        await stack.sync("A23")
        await until(lambda: len(shop.received) == 2)
        for message in shop.received:
            message.verify(SECRET)
            assert message.headers["content-type"] == "application/json"
        (finished,), (changed,) = shop.of("run.finished"), shop.of("catalogue.changed")
        run = await stack.run("A23")
        assert finished.data["id"] == changed.data["runId"] == str(run["id"])
        assert (finished.data["status"], finished.data["supplierState"]) == ("completed", "ok")
        assert finished.data["variants"]["created"] == run["variants_created"] > 0
        numbered = await stack.value("SELECT count(*) FROM changes WHERE seq > :since", since=changed.data["since"])
        assert numbered == await stack.value("SELECT count(*) FROM changes"), "told before they could be read"


async def test_a_run_that_changed_nothing_tells_of_itself_alone_and_says_where_the_feed_stood(stack: Stack) -> None:
    await stack.sync("A23")
    async with listening(Receiver(free_port())) as shop, delivering(stack):
        await until_numbered(stack)
        await add_webhook(stack, shop.url)
        await stack.sync("A23")
        await until(lambda: len(shop.received) == 1)
        stack.feed.change_price(next(iter(await family_skus(stack))))
        head = await stack.value("SELECT seq FROM change_head")
        await stack.sync("A23")
        await until(lambda: len(shop.received) == 3)
        (changed,) = shop.of("catalogue.changed")
        assert changed.data["since"] == head > 0


async def family_skus(stack: Stack) -> list[str]:
    rows = await stack.rows(
        "SELECT p.sku FROM products p JOIN suppliers s ON s.id = p.supplier_id WHERE s.code = 'A23' ORDER BY p.sku"
    )
    return [row["sku"] for row in rows]


async def test_a_receiver_that_fails_is_tried_again_with_the_same_id_and_every_try_is_in_the_log(stack: Stack) -> None:
    async with listening(Receiver(free_port(), answers=[503, 302, 400, 200])) as shop, delivering(stack):
        shop.location = "http://127.0.0.1:1/elsewhere"
        await add_webhook(stack, shop.url, ("run.finished",))
        await stack.sync("A23")
        for number in range(1, 5):
            await until(lambda number=number: len(shop.received) == number)  # type: ignore[misc]
            await settled(stack)
            await hurry(stack)
        (row,) = await deliveries(stack)
        assert {message.id for message in shop.received} == {str(row["id"])}
        assert {message.body for message in shop.received} == {row["payload"].encode()}
        assert (row["state"], row["attempts"], row["response_status"], row["error"]) == ("delivered", 4, 200, None)
        assert [attempt["status"] for attempt in row["tries"]] == [503, 302, 400, 200]


async def test_a_receiver_that_fails_for_a_day_is_given_up_and_can_be_tried_by_hand(stack: Stack) -> None:
    async with listening(Receiver(free_port(), answers=[500])) as shop, api_client(stack.settings) as api:
        webhook_id = await add_webhook(stack, shop.url, ("run.finished",))
        await stack.sync("A23")
        async with delivering(stack):
            async with stack.services.database.quick() as db:
                await db.exec_driver_sql("UPDATE deliveries SET attempts = 10")
            await until(lambda: shop.received)
            await settled(stack)
            (delivery,) = (await api.get(f"/webhooks/{webhook_id}/deliveries"))["items"]
            assert (delivery["state"], delivery["nextAttemptAt"]) == ("failed", None)
            assert delivery["responseStatus"] == 500
            shop.answers = [204]
            path = f"/webhooks/{webhook_id}/deliveries/{delivery['id']}/retry"
            assert (await api.post(path, expect=202))["state"] == "pending"
            await until(lambda: len(shop.received) == 2)
            await settled(stack)
        assert {message.id for message in shop.received} == {delivery["id"]}
        (delivery,) = (await api.get(f"/webhooks/{webhook_id}/deliveries"))["items"]
        assert (delivery["state"], delivery["attempts"]) == ("delivered", 1)
        assert delivery["payload"]["type"] == "run.finished"
        await api.problem("POST", path, 409)


async def test_a_receiver_that_is_gone_is_told_nothing_more(stack: Stack) -> None:
    async with listening(Receiver(free_port(), answers=[410])) as shop, delivering(stack):
        await add_webhook(stack, shop.url)
        await stack.sync("A23")
        await until(lambda: shop.received)
        await settled(stack)
        (row,) = await stack.rows("SELECT is_active, deactivated_reason FROM webhooks")
        assert row == {"is_active": False, "deactivated_reason": "the receiver answered 410 Gone"}
        assert {delivery["state"] for delivery in await deliveries(stack)} == {"failed"}
        await stack.sync("A360")
        assert len(await deliveries(stack)) == 2
        assert len(shop.received) == 1


async def test_a_late_answer_of_the_old_address_says_nothing_of_the_new_one(stack: Stack) -> None:
    async with (
        listening(Receiver(free_port(), answers=[410], hang_s=2)) as old,
        listening(Receiver(free_port())) as new,
        delivering(stack),
    ):
        webhook = await add_webhook(stack, old.url, ("run.finished",))
        await stack.sync("A23")
        await until(lambda: old.received)
        await update_webhook(stack.services, webhook, WebhookChanges(url=new.url))
        await until(lambda: new.received)
        await settled(stack)
        (row,) = await stack.rows("SELECT is_active, deactivated_reason FROM webhooks")
        assert row == {"is_active": True, "deactivated_reason": None}
        assert [delivery["state"] for delivery in await deliveries(stack)] == ["delivered"]


async def test_a_receiver_that_hangs_holds_up_no_other(stack: Stack) -> None:
    async with (
        listening(Receiver(free_port(), hang_s=600)) as slow,
        listening(Receiver(free_port())) as quick,
        delivering(stack),
    ):
        await add_webhook(stack, slow.url)
        await add_webhook(stack, quick.url)
        await stack.sync()
        await until(lambda: len(quick.received) == 4)
        assert len(slow.received) == 1, "one at a time"
        await eventually(lambda: stack.value("SELECT count(error) = 1 FROM deliveries"))
        (row,) = await stack.rows("SELECT * FROM deliveries WHERE error IS NOT NULL")
        assert (row["state"], row["response_status"]) == ("pending", None)
        assert "took over" in row["error"]


async def test_a_webhook_into_a_private_network_is_refused_at_both_ends(make_stack: MakeStack) -> None:
    async with (
        make_stack(allow_private_addresses="127.0.0.1/32") as stack,
        api_client(stack.settings) as api,
        delivering(stack),
    ):
        for url in (
            "http://10.0.0.7/hooks",
            "http://169.254.169.254/latest",
            "http://127.0.0.2/hooks",
            "http://[::1]/hooks",
            "http://127.1/hooks",
            "ftp://shop.example/hooks",
            "http://user:word@shop.example/hooks",
            "shop.example/hooks",
        ):
            problem = await api.problem("POST", "/webhooks", 422, json={"url": url})
            assert problem["errors"][0]["field"] == "url"
        await add_webhook(stack, "http://10.0.0.7/hooks", ("run.finished",))  # as if the policy had changed since
        await stack.sync("A23")
        await eventually(lambda: stack.value("SELECT tries <> '[]' FROM deliveries"))
        (row,) = await deliveries(stack)
        assert (row["state"], row["attempts"]) == ("failed", 1)
        assert "not a public address" in row["error"]


async def test_ten_failing_nights_are_told_of_once_and_the_recovery_too(stack: Stack) -> None:
    async with listening(Receiver(free_port())) as shop:
        await add_webhook(stack, shop.url, ("run.finished",))
        await stack.sync("A23")
        stack.feed.set_manifest(b"")
        for _ in range(10):
            await stack.sync("A23")
        assert (await stack.run("A23"))["status"] == "failed"
        stack.feed.set_manifest(None)
        await stack.sync("A23")
        await stack.sync("A23")
        told = [row["payload"] for row in await deliveries(stack)]
        assert len(told) == 4
        async with delivering(stack):
            await until(lambda: len(shop.received) == 4)
        states = [
            (message.data["status"], message.data["supplierState"], message.data["supplierStateChanged"])
            for message in shop.received
        ]
        assert states == [
            ("completed", "ok", False),
            ("failed", "failing", True),
            ("completed", "ok", True),
            ("completed", "ok", False),
        ]
        assert shop.received[1].data["error"]


async def test_a_repair_tells_nothing_more(servers: Servers, tmp_path: Path) -> None:
    async with worker_stack(servers, tmp_path) as workers:
        stack = workers.stack
        await add_webhook(stack, "http://127.0.0.1:9/hooks")
        stack.server.faults.add("picture", "status", status=404, times=1)
        workers.spawn_all()
        await workers.start("A23")
        (run,) = await workers.over()
        assert run["status"] == "completed_with_errors"
        told = await stack.rows("SELECT id, snapshot FROM deliveries ORDER BY number")
        assert len(told) == 2
        assert await by_hand.retry_failed(stack.services, "image-upload") == 1
        await eventually(lambda: stack.value("SELECT status = 'completed' FROM runs"))
        assert (await stack.run("A23"))["repaired_at"] is not None
        assert await stack.rows("SELECT id, snapshot FROM deliveries ORDER BY number") == told


@pytest.mark.chaos
async def test_the_message_arrives_although_every_process_dies_as_the_run_ends(
    servers: Servers, tmp_path: Path
) -> None:
    """C6: the receiver is away, every process is killed the moment the run ends, and started again."""
    async with worker_stack(servers, tmp_path) as workers:
        shop = Receiver(free_port())
        await add_webhook(workers.stack, shop.url)
        workers.spawn_all()
        await workers.start("A23")
        (run,) = await workers.over()
        for worker in workers.all:
            worker.kill()
        assert run["status"] == "completed", run
        assert len(await deliveries(workers.stack)) == 2
        async with listening(shop):
            workers.spawn_all()
            await until(lambda: len(shop.received) == 2, timeout_s=60)
            await asyncio.sleep(2)
        ids = {message.id for message in shop.received}
        assert ids == {str(row["id"]) for row in await deliveries(workers.stack)}
        assert {message.type for message in shop.received} == set(BOTH)
        assert len(shop.received) == 2


@pytest.mark.chaos
@pytest.mark.parametrize(
    ("point", "requests"),
    [
        ("upkeep.webhooks._claim:before-commit", 1),
        ("upkeep.webhooks._claim:after-commit", 1),
        ("upkeep.webhooks._text_of:before-commit", 1),
        ("upkeep.webhooks._text_of:after-commit", 1),
        ("upkeep.webhooks._note_verdict:before-commit", 2),
        ("upkeep.webhooks._note_verdict:after-commit", 1),
    ],
)
async def test_a_worker_that_dies_while_it_delivers_lets_another_send_the_same_message(
    servers: Servers, tmp_path: Path, point: str, requests: int
) -> None:
    async with worker_stack(servers, tmp_path) as workers, listening(Receiver(free_port())) as shop:
        await add_webhook(workers.stack, shop.url, ("run.finished",))
        await workers.stack.sync("A23")
        first = workers.spawn("supplier-sync", PROMIDATA_FAILPOINT=point)
        assert await first.exit_code() == -signal.SIGKILL
        async with workers.stack.services.database.quick() as db:
            await db.exec_driver_sql("UPDATE deliveries SET lease_until = now() WHERE claim IS NOT NULL")  # after 30 s
        workers.spawn("image-upload")
        await eventually(lambda: workers.stack.value("SELECT state = 'delivered' FROM deliveries"))
        assert len(shop.received) == requests
        assert len({message.id for message in shop.received}) == 1


async def test_webhooks_are_an_admins_and_their_secret_is_shown_once(make_stack: MakeStack) -> None:
    keys = "worker:operator:o-secret-of-16-chars,boss:admin:a-secret-of-16-chars"
    async with make_stack(api_keys=keys) as stack:
        async with api_client(stack.settings, "o-secret-of-16-chars") as operator:
            await operator.problem("GET", "/webhooks", 403)
        async with api_client(stack.settings, "a-secret-of-16-chars") as api:
            made = await api.post("/webhooks", {"url": "http://127.0.0.1:9/hooks"}, expect=201)
            assert made["secret"].startswith("whsec_")
            assert made["events"] == list(BOTH)
            path = f"/webhooks/{made['id']}"
            seen = await api.get(path)
            assert seen == {name: value for name, value in made.items() if name != "secret"}
            assert (await api.get("/webhooks"))["items"] == [seen]
            changes = {"events": ["run.finished", "run.finished"], "isActive": False}
            changed = await api.call("PATCH", path, json=changes)
            assert (changed["events"], changed["isActive"], changed["url"]) == (["run.finished"], False, made["url"])
            assert "secret" not in changed
            await api.problem("PATCH", path, 422, json={"url": "http://10.1.2.3/"})
            await api.problem("PATCH", path, 422, json={"events": ["run.started"]})
            await api.problem("PATCH", path, 422, json={"events": []})
            await api.problem("PATCH", path, 422, json={"secret": "whsec_mine"})
            await api.problem("POST", "/webhooks", 422, json={})
            unknown = "0b9f3c52-7a41-4f0e-8d52-6f7f2f5c1a90"
            for method, missing in (
                ("GET", f"/webhooks/{unknown}"),
                ("PATCH", f"/webhooks/{unknown}"),
                ("DELETE", "/webhooks/not-an-id"),
                ("GET", f"/webhooks/{unknown}/deliveries"),
                ("POST", f"{path}/deliveries/{unknown}/retry"),
            ):
                await api.problem(method, missing, 404, **({"json": {}} if method == "PATCH" else {}))
            assert (await api.call("DELETE", path))["id"] == made["id"]
            await api.problem("GET", path, 404)


async def test_webhooks_and_deliveries_come_in_pages(stack: Stack) -> None:
    async with api_client(stack.settings) as api:
        ids = [await add_webhook(stack, f"http://127.0.0.1:9/{number}") for number in range(5)]
        assert [item["id"] for item in await api.all_pages("/webhooks", limit=2)] == ids[::-1]
        await stack.sync()
        log = await api.all_pages(f"/webhooks/{ids[0]}/deliveries", limit=1)
        assert len({item["id"] for item in log}) == len(log) == 4


async def test_the_webhook_of_a_run_whose_documents_are_all_refused_says_failed_and_why(stack: Stack) -> None:
    """A12."""
    await add_webhook(stack, "http://127.0.0.1:9/hooks")
    stack.server.faults.add("document", "status", status=403)
    await stack.sync("A23")
    (row,) = await deliveries(stack)
    data = json.loads(message_of(stack.settings, row["event"], row["snapshot"], row["payload"]))["data"]
    assert (row["event"], data["status"], data["supplierState"]) == ("run.finished", "failed", "failing")
    assert "403" in data["error"]


async def test_where_to_read_on_has_the_prefix(stack: Stack) -> None:
    run_id = await add_run(stack)
    async with stack.services.database.read() as db:
        snapshot = await run_lists.find_run(db, run_id)
    assert snapshot is not None
    for addresses, prefix in (
        ({}, ""),
        ({"root_path": "/promi"}, "/promi"),
        ({"root_path": "/promi", "public_url": "https://shop.example"}, "/promi"),
        ({"public_url": "https://shop.example/feeds"}, "/feeds"),
    ):
        settings = Settings(**{**stack.settings.model_dump(), **addresses})
        message = message_of(settings, "catalogue.changed", {**snapshot, "changes_since": 7}, None)
        assert json.loads(message)["data"]["changes"] == f"{prefix}/api/v1/changes?since=7"
