"""A process dies at each commit that no stage makes, or loses its answer: operators', the clock's, housekeeping's.

    prepare ─▶ the action in a process of its own, which is struck there ──▶ the action once more ─▶ how things stand
    prepare ─▶ the action, undisturbed ─────────────────────────────────────────────────────────▶ the same?

With tests/chaos/test_failpoints.py and those of webhooks and schedules, every commit below app/sync is tried.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text

from app.errors import Conflict, DatabaseUnavailable, NotFound
from app.failpoints import arm
from app.persistence.breaking import SAID
from app.settings import load_settings
from app.sync.operating import by_hand, discovery, media, start, suppliers, webhooks
from app.sync.operating.start import StartRequest
from app.sync.services import Services, open_services
from app.sync.upkeep import retention, schedules
from app.views.bodies import NewSupplier, NewWebhook, SupplierChanges, WebhookChanges
from tests.chaos.test_failpoints import ELSEWHERE, commits_of
from tests.conftest import MakeStack
from tests.support.forked import start_call
from tests.support.ledger_rows import add_jobs, add_run
from tests.support.stack import Stack
from tests.support.worker_stack import environment_of, until

KILLED = -signal.SIGKILL
IMAGES = "image-upload"
HOOK = "http://127.0.0.1:9/hooks"
TRIED_ELSEWHERE = {
    "operating.acting._write": "tests/integration/test_audit.py",  # after what was done, which stays done
    "running.direct._end_runs": "tests/integration/test_direct_sync.py",  # what it leaves undone a lease's end does
    "upkeep.schedules._start_what_is_due": "tests/integration/test_schedules.py",
    "upkeep.webhooks._claim": "tests/integration/test_webhooks.py",
    "upkeep.webhooks._text_of": "tests/integration/test_webhooks.py",
    "upkeep.webhooks._note_verdict": "tests/integration/test_webhooks.py",
}
NOBODY_IN_A_TRANSACTION = """
SELECT count(*) = 0 FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND xact_start IS NOT NULL
"""
STANDING = """
SELECT 'job' AS what, queue AS name, state AS a, CAST(attempts AS text) AS b FROM jobs
UNION ALL SELECT 'run', status, CAST(open_jobs AS text), mode || trigger || images_failed || images_cancelled FROM runs
UNION ALL SELECT 'supplier', code, CAST(schedule_paused_at IS NULL AS text), is_active || coalesce(schedule, '-')
    FROM suppliers
UNION ALL SELECT 'document', file_name, CAST(applied_hash IS NULL AS text), '' FROM documents
UNION ALL SELECT 'webhook', url, CAST(is_active AS text), CAST(events AS text) FROM webhooks
UNION ALL SELECT 'delivery', event, state, '' FROM deliveries
UNION ALL SELECT 'queue', name, CAST(paused AS text), '' FROM queues
UNION ALL SELECT 'address', url, state, CAST(media_id IS NULL AS text) FROM addresses
UNION ALL SELECT 'media', key, '', '' FROM media
UNION ALL SELECT 'change', sku, kind, CAST(fields AS text) FROM changes
UNION ALL SELECT 'problem', kind, reason, '' FROM problems
UNION ALL SELECT 'key', caller, key, '' FROM idempotency_keys
UNION ALL SELECT 'removal', encode(sha256, 'hex'), '', '' FROM media_removals
ORDER BY 1, 2, 3, 4
"""


@dataclass(frozen=True)
class Scenario:
    """What an operator, or the clock, does, and on what."""

    prepare: Callable[[Stack], Awaitable[object]]
    act: Callable[[Services], Awaitable[object]]
    times: int = 1
    """How many commits of that name there are."""


async def _first(services: Services, sql: str) -> str:
    async with services.database.read() as db:
        return str(await db.scalar(text(sql)))


async def _write(stack: Stack, *statements: str) -> None:
    async with stack.services.database.begin() as db:
        for statement in statements:
            await db.execute(text(statement))


async def _jobs(stack: Stack, state: str, status: str) -> None:
    run = await add_run(stack, status=status)
    await add_jobs(stack, run, queue=IMAGES, state=state, count=3)


async def _job(services: Services) -> str:
    return await _first(services, "SELECT min(id) FROM jobs WHERE queue = 'image-upload'")


async def _retry_one(services: Services) -> None:
    await by_hand.retry_job(services, IMAGES, await _job(services))


async def _cancel_one(services: Services) -> None:
    await by_hand.cancel_job(services, IMAGES, await _job(services))


async def _delete_one(services: Services) -> None:
    await by_hand.delete_job(services, IMAGES, "image-upload-to-be-deleted")


async def _to_be_deleted(stack: Stack) -> None:
    await _jobs(stack, "completed", "completed")
    await _write(
        stack,
        "UPDATE jobs SET id = 'image-upload-to-be-deleted' WHERE id = (SELECT min(id) FROM jobs)",
    )


async def _cancel_run(services: Services) -> None:
    await by_hand.cancel_run(services, await _first(services, "SELECT id FROM runs"))


async def _guarded(stack: Stack) -> None:
    await stack.sync()
    stack.feed.hide_supplier("A23")
    await stack.sync("A23")


async def _confirm(services: Services) -> None:
    held = await _first(services, "SELECT id FROM runs WHERE guard IS NOT NULL")
    await by_hand.confirm_removals(services, held)


async def _none(stack: Stack) -> None:
    await _write(stack, "DELETE FROM suppliers")


async def _nothing(_: Stack) -> None:
    """The stack is as it is needed."""


async def _one_object_gone(stack: Stack) -> None:
    await stack.sync()
    await stack.services.store.delete(await _first(stack.services, "SELECT min(key) FROM media"))


async def _orphans(stack: Stack) -> None:
    """Pictures that nothing shows any more."""
    await stack.sync("A23")
    await _write(stack, "DELETE FROM shown_pictures")


async def _old(stack: Stack) -> None:
    await stack.sync()
    await _jobs(stack, "completed", "completed")
    await _write(
        stack,
        "UPDATE runs SET created_at = created_at - interval '2 years', finished_at = finished_at - interval '2 years'",
        "UPDATE changes SET at = at - interval '2 years'",
        "INSERT INTO idempotency_keys (caller, key, body_sha256, created_at) "
        "VALUES ('a', 'k', '', now() - interval '2 years')",
        "INSERT INTO media_removals (sha256, removals, until) VALUES ('', 1, now() - interval '2 years')",
    )


async def _failing_nights(stack: Stack) -> None:
    """One supplier whose schedule is to be paused, and one whose schedule is to go on."""
    most = stack.settings.schedule_pause_after_failures
    for _ in range(most):
        await add_run(stack, "A23", status="failed")
    await add_run(stack, "A360", status="completed")
    await _write(
        stack,
        "UPDATE suppliers SET schedule = '0 3 * * *', next_run_at = now() + interval '1 day'",
        "UPDATE suppliers SET schedule_paused_at = now() - interval '1 day', schedule_paused_reason = 'failed', "
        "next_run_at = NULL WHERE code = 'A360'",
    )


async def _add_supplier(services: Services) -> None:
    body = NewSupplier.model_validate({"code": "NEW1", "schedule": "0 3 * * *"})
    await suppliers.create_supplier(services.database, body)


async def _change_supplier(services: Services) -> None:
    body = SupplierChanges.model_validate({"schedule": "0 4 * * *"})
    await suppliers.update_supplier(services.database, "A23", body)


async def _add_webhook(services: Services) -> None:
    """As somebody does who is not sure that it is there."""
    if await _first(services, "SELECT count(*) FROM webhooks") == "0":
        await webhooks.create_webhook(services, NewWebhook.model_validate({"url": HOOK}))


async def _a_webhook(stack: Stack) -> None:
    """With a delivery that was given up."""
    await stack.sync("A23")
    await _add_webhook(stack.services)
    await _write(
        stack,
        "INSERT INTO deliveries (id, webhook_id, run_id, event, state, payload) "
        "SELECT gen_random_uuid(), w.id, r.id, 'run.finished', 'failed', '{}' FROM webhooks w, runs r",
    )


async def _the_webhook(services: Services) -> str:
    return await _first(services, "SELECT id FROM webhooks")


async def _stop_webhook(services: Services) -> None:
    body = WebhookChanges.model_validate({"isActive": False})
    await webhooks.update_webhook(services, await _the_webhook(services), body)


async def _delete_webhook(services: Services) -> None:
    if await _first(services, "SELECT count(*) FROM webhooks") == "1":
        await webhooks.delete_webhook(services.database, await _the_webhook(services))


async def _send_again(services: Services) -> None:
    delivery = await _first(services, "SELECT id FROM deliveries")
    await webhooks.retry_delivery(services.database, await _the_webhook(services), delivery)


async def _start(services: Services) -> None:
    await start.start_queued(services, StartRequest())


SCENARIOS: dict[str, Scenario] = {
    "operating.discovery.discover": Scenario(_none, discovery.discover),
    "operating.media._fetch_again": Scenario(
        _one_object_gone, lambda services: media.verify_media(services, repair=True)
    ),
    "operating.media._forget_addresses": Scenario(
        _orphans, lambda services: media.find_orphans(services, older_than_s=0, delete=True)
    ),
    "operating.media._remove": Scenario(
        _orphans, lambda services: media.find_orphans(services, older_than_s=0, delete=True), times=2
    ),
    "operating.by_hand.retry_job": Scenario(lambda stack: _jobs(stack, "failed", "completed_with_errors"), _retry_one),
    "operating.by_hand._retry_page": Scenario(
        lambda stack: _jobs(stack, "failed", "completed_with_errors"),
        lambda services: by_hand.retry_failed(services, IMAGES),
    ),
    "operating.by_hand.cancel_job": Scenario(lambda stack: _jobs(stack, "waiting", "running"), _cancel_one),
    "operating.by_hand.delete_job": Scenario(_to_be_deleted, _delete_one),
    "operating.by_hand._set_paused": Scenario(_nothing, lambda services: by_hand.pause(services, IMAGES)),
    "operating.by_hand.cancel_run": Scenario(lambda stack: _jobs(stack, "waiting", "running"), _cancel_run),
    "operating.by_hand._start_confirmed": Scenario(_guarded, _confirm),
    "upkeep.retention._batches": Scenario(_old, retention.forget_old, times=4),
    "persistence.retention.delete_changes": Scenario(_old, retention.forget_old),
    "persistence.retention.delete_idempotency_keys": Scenario(_old, retention.forget_old),
    "persistence.retention.delete_removals": Scenario(_old, retention.forget_old),
    "upkeep.schedules._pause_and_resume": Scenario(_failing_nights, schedules.run_schedules),
    "upkeep.schedules.resume_recovered": Scenario(_failing_nights, schedules.run_schedules),
    "operating.start.start_runs": Scenario(_nothing, _start),
    "operating.suppliers.create_supplier": Scenario(_nothing, _add_supplier),
    "operating.suppliers.update_supplier": Scenario(_nothing, _change_supplier),
    "operating.suppliers.reset_supplier": Scenario(
        lambda stack: stack.sync("A23"), lambda services: suppliers.reset_supplier(services.database, "A23")
    ),
    "operating.webhooks.create_webhook": Scenario(_nothing, _add_webhook),
    "operating.webhooks.update_webhook": Scenario(_a_webhook, _stop_webhook),
    "operating.webhooks.delete_webhook": Scenario(_a_webhook, _delete_webhook),
    "operating.webhooks.retry_delivery": Scenario(_a_webhook, _send_again),
    "persistence.audit.note_begun": Scenario(
        _one_object_gone, lambda services: media.verify_media(services, repair=True)
    ),
}
POINTS = [
    f"{name}:{side}" + (f"#{number}" if number > 1 else "")
    for name, scenario in SCENARIOS.items()
    for number in range(1, scenario.times + 1)
    for side in ("before-commit", "after-commit", "cut")
]


def main(name: str, point: str) -> None:
    """What the child process does: the action, on the environment's settings, with a point armed."""

    async def run() -> None:
        async with open_services(load_settings()) as services:
            arm(point)
            with suppress(DatabaseUnavailable):  # what it is told where its connection is cut
                await SCENARIOS[name].act(services)

    asyncio.run(run())


@pytest.mark.chaos
def test_every_commit_outside_of_the_stages_is_tried() -> None:
    named = {
        name.replace("upkeep.retention._until_none", "upkeep.retention._batches") for name in commits_of(ELSEWHERE)
    }
    assert named - SCENARIOS.keys() - TRIED_ELSEWHERE.keys() == set()


@pytest.mark.chaos
@pytest.mark.parametrize("point", POINTS)
async def test_who_is_struck_there_and_tries_again_gets_what_was_asked_for(make_stack: MakeStack, point: str) -> None:
    name = point.partition(":")[0]
    scenario = SCENARIOS[name]
    async with make_stack() as stack:
        await scenario.prepare(stack)
        await _strike(stack, name, point)
        with suppress(Conflict, NotFound):  # it was done, and is told so
            await scenario.act(stack.services)
        after = await stack.rows(STANDING)
        objects = [found.key async for found in stack.services.store.list_objects()]
    async with make_stack() as stack:
        await scenario.prepare(stack)
        await scenario.act(stack.services)
        undisturbed = _standing(await stack.rows(STANDING))
        assert (_standing(after) - undisturbed, undisturbed - _standing(after)) == (Counter(), Counter())
        assert sorted(objects) == sorted([found.key async for found in stack.services.store.list_objects()])


async def _strike(stack: Stack, name: str, point: str) -> None:
    log = stack.settings.data_dir / "child.log"
    log.touch()
    child = start_call(__name__, "main", (name, point), {**os.environ, **environment_of(stack.settings)}, log)
    await until(lambda: not child.is_alive())
    await until(lambda: stack.value(NOBODY_IN_A_TRANSACTION))  # who comes next passes over what a dead one holds still
    is_cut, said = ":cut" in point, log.read_text()
    assert child.exitcode == (0 if is_cut else KILLED), said
    assert (SAID in said) == is_cut


def _standing(rows: list[dict[str, Any]]) -> Counter[tuple[str, ...]]:
    """How things stand; without the feed's port, which differs from stack to stack."""
    return Counter(tuple(re.sub(r"(?<=127\.0\.0\.1:)\d+", "", str(value)) for value in row.values()) for row in rows)
