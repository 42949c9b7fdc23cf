"""The audit trail: whatever changes something leaves an entry that says who, and that nobody can change."""

from __future__ import annotations

import asyncio
import getpass
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.errors import DatabaseUnavailable, OriginUnavailable
from app.failpoints import arm
from app.persistence.audit import Act, note
from app.persistence.database import Database, RepeatTransaction
from app.persistence.failures import StatementRefused
from app.sync.operating import acting as acting_module
from app.sync.operating.acting import audited
from app.sync.operating.by_hand import pause
from app.sync.operating.media import find_orphans, verify_media
from app.sync.upkeep.schedules import run_schedules
from tests.support.api_client import ApiClient, api_client
from tests.support.command_line import command, environment_of
from tests.support.commands_here import command_of, commands_of, set_up, typed_here
from tests.support.stack import Servers, Stack, open_stack

DESCRIBED = json.loads((Path(__file__).parents[2] / "openapi.json").read_text())["paths"]
CHANGING = [(path, verb) for path, verbs in DESCRIBED.items() for verb in verbs if verb not in {"get", "head"}]
KEYS = {"reader": "r-secret-of-16-chars", "boss": "a-secret-of-16-chars"}
FIELDS = {"id", "at", "actor", "role", "via", "action", "target", "result", "detail", "address"}
NDJSON = {"Accept": "application/x-ndjson"}

NOBODY = "5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8"
CHANGES = {
    "sync": ("startSync", "ok"),
    "sync A999": ("startSync", "refused"),
    "reparse": ("startSync", "refused"),
    "retry nothing": ("retryJob", "refused"),
    "retry --failed image": ("retryFailed", "ok"),
    "cancel nothing": ("cancelJob", "refused"),
    f"cancel {NOBODY}": ("cancelRun", "refused"),
    f"confirm {NOBODY}": ("confirmRemovals", "refused"),
    "delete nothing": ("deleteJob", "refused"),
    "pause image": ("pauseQueue", "ok"),
    "resume image": ("resumeQueue", "ok"),
    "suppliers --discover": ("discoverSuppliers", "ok"),
    "suppliers add Z1 --schedule often": ("createSupplier", "refused"),
    "suppliers add Z1": ("createSupplier", "ok"),
    "suppliers deactivate Z1": ("updateSupplier", "ok"),
    "suppliers activate Z1": ("updateSupplier", "ok"),
    "suppliers set Z1 --name Zett --guard 0.35": ("updateSupplier", "ok"),
    "suppliers set Z1 --default-guard": ("updateSupplier", "ok"),
    "suppliers schedule Z1 --time-zone Mars": ("updateSupplier", "refused"),
    "suppliers schedule Z1 --none": ("updateSupplier", "ok"),
    "suppliers reset Z1": ("resetSupplier", "ok"),
    "webhooks add http://127.0.0.1:9/s3cret --inactive": ("createWebhook", "ok"),
    "webhooks add http://127.0.0.1:9/ --event sneeze": ("createWebhook", "refused"),
    f"webhooks activate {NOBODY}": ("updateWebhook", "refused"),
    "webhooks deactivate nothing": ("updateWebhook", "refused"),
    f"webhooks retry {NOBODY} {NOBODY}": ("retryDelivery", "refused"),
    f"webhooks ping {NOBODY}": ("pingWebhook", "refused"),
    f"webhooks delete {NOBODY}": ("deleteWebhook", "refused"),
    "media verify --repair": ("repairMedia", "ok"),
    "media orphans --delete": ("deleteOrphans", "ok"),
}
"""What is typed, to its action and what comes of it here."""
READ_ONLY = {
    "audit", "categories", "changes", "doctor", "explain", "feed check", "history", "jobs", "product", "products",
    "runs", "states", "stats", "variants", "webhooks", "webhooks deliveries", "workers",
}  # fmt: skip
ELSEWHERE = {"api", "feed serve", "migrate", "up", "worker"}
"""Programs, whose own commands and calls are audited, and the schema, without which nothing can be written."""


@pytest.fixture(scope="module")
async def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    keys: dict[str, Any] = {"api_keys": f"reader:viewer:{KEYS['reader']},boss:admin:{KEYS['boss']}"}
    async with open_stack(servers, tmp_path_factory.mktemp("stack"), **keys) as opened:
        yield opened


@pytest.fixture(scope="module")
async def api(stack: Stack) -> AsyncIterator[ApiClient]:
    async with api_client(stack.settings, KEYS["boss"]) as client:
        yield client


async def newest(api: ApiClient, **filters: Any) -> dict[str, Any]:
    (entry, *_) = (await api.get("/audit", limit=1, **filters))["items"]
    assert entry.keys() == FIELDS
    return dict(entry)


def _filled(path: str, verb: str) -> tuple[str, Any]:
    """An operation's path and body with the examples of its description."""
    operation = DESCRIBED[path][verb]
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            example = (parameter["schema"].get("examples") or parameter.get("examples") or ["x"])[0]
            path = path.replace(f"{{{parameter['name']}}}", str(example))
    return path, {}


@pytest.mark.parametrize(("path", "verb"), CHANGING)
async def test_every_route_that_changes_something_leaves_an_entry(api: ApiClient, path: str, verb: str) -> None:
    action = DESCRIBED[path][verb]["operationId"]
    url, body = _filled(path, verb)
    answer = await api.http.request(verb.upper(), url, json=body)
    entry = await newest(api, action=action)
    assert (entry["actor"], entry["role"], entry["via"], entry["address"]) == ("boss", "admin", "api", "127.0.0.1")
    assert (entry["result"] == "ok") == (answer.status_code < 400)
    if answer.status_code >= 400:
        assert entry["detail"]["reason"] == answer.json()["detail"]
    refused = await api.http.request(verb.upper(), url, json=body, headers={"X-API-Key": KEYS["reader"]})
    assert refused.status_code == 403
    entry = await newest(api, action=action)
    assert (entry["actor"], entry["role"], entry["result"]) == ("reader", "viewer", "refused")


def test_every_command_is_known_to_read_or_to_be_audited() -> None:
    assert {command_of(typed) for typed in CHANGES} | READ_ONLY | ELSEWHERE == commands_of()


async def test_every_command_that_changes_something_leaves_an_entry(
    stack: Stack, api: ApiClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    user = getpass.getuser()
    set_up(monkeypatch, environment_of(stack), tmp_path)
    for typed, (action, result) in CHANGES.items():
        code = await typed_here(*typed.split())
        entry = await newest(api, action=action)
        assert (typed, code == 0) == (typed, result == "ok"), capsys.readouterr()
        assert (entry["actor"], entry["role"], entry["via"], entry["result"]) == (user, None, "cli", result), typed
    assert "s3cret" not in json.dumps(await api.all_pages("/audit", limit=500, action="createWebhook"))


async def test_what_is_done_says_what_it_was_about(api: ApiClient) -> None:
    await api.call("POST", "/suppliers", 201, json={"code": "B1", "schedule": "0 5 * * *"})
    entry = await newest(api, target="B1")
    assert (entry["action"], entry["detail"]) == ("createSupplier", {"code": "B1", "schedule": "0 5 * * *"})
    await api.call("PATCH", "/suppliers/B1", json={"isActive": False})
    assert (await newest(api, target="B1"))["detail"] == {"isActive": False}
    await api.call("PATCH", "/suppliers/B1", json={"schedule": None})
    assert (await newest(api, target="B1"))["detail"] == {"schedule": None}
    await api.call("POST", "/queues/image-upload/pause")
    assert (await newest(api))["target"] == "image-upload"
    await api.call("POST", "/queues/image-upload/resume")


async def test_a_sync_leaves_an_entry_a_run_and_a_repeated_call_says_that_it_was_one(
    api: ApiClient, stack: Stack
) -> None:
    key = {"Idempotency-Key": "night"}
    first = await api.call("POST", "/sync", 202, json={"supplierId": "A360"}, headers=key)
    entry = await newest(api, action="startSync", target="A360")
    if first["suppliersEnqueued"]:
        assert entry["detail"] == {"runId": first["jobs"][0]["runId"], "mode": "queued"}
    await api.call("POST", "/sync", 202, json={"supplierId": "A360"}, headers=key)
    assert (await newest(api, action="startSync"))["detail"] == {"repeated": True}


async def test_a_webhook_is_told_by_its_host_alone(make_stack: Any) -> None:
    async with make_stack(api_keys=f"boss:admin:{KEYS['boss']}") as own, api_client(own.settings, KEYS["boss"]) as api:
        made = await api.post("/webhooks", {"url": "http://127.0.0.1:9/s3cret?t=0", "events": ["run.finished"]}, 201)
        await api.call("PATCH", f"/webhooks/{made['id']}", json={"isActive": False})
        await api.call("DELETE", f"/webhooks/{made['id']}")
        entries = (await api.get("/audit"))["items"]
        for url in ("ftp://shop.example/s3cret", "http://u@shop.example/s3cret", "http://10.1.2.3/s3cret", "s3cret\n"):
            refused = await api.problem("POST", "/webhooks", 422, json={"url": url})
            assert (await newest(api))["detail"]["reason"] == refused["detail"]
            assert "s3cret" not in refused["detail"]
    assert [entry["action"] for entry in entries] == ["deleteWebhook", "updateWebhook", "createWebhook"]
    assert all(entry["target"] == made["id"] and entry["detail"]["host"] == "127.0.0.1" for entry in entries)
    assert "s3cret" not in json.dumps(entries)
    assert made["secret"] not in json.dumps(entries)


async def test_a_schedule_acts_by_itself(api: ApiClient, stack: Stack) -> None:
    for code, cron in (("B2", "0 5 * * *"), ("B3", "0 6 * * *")):
        await api.call("POST", "/suppliers", 201, json={"code": code, "schedule": cron})
    async with stack.services.database.begin() as db:
        await db.exec_driver_sql("UPDATE suppliers SET schedule = 'nonsense' WHERE code = 'B3'")
        await db.exec_driver_sql(
            "UPDATE suppliers SET next_run_at = now() - interval '1 hour' WHERE code IN ('B2', 'B3')"
        )
    await run_schedules(stack.services)
    entries = [await newest(api, actor="schedule", target=code) for code in ("B2", "B3")]
    assert [(entry["role"], entry["via"], entry["action"]) for entry in entries] == [
        (None, "schedule", "startSync"),
        (None, "schedule", "pauseSchedule"),
    ]
    assert entries[0]["detail"].keys() == {"runId", "mode"}


async def test_what_is_undone_leaves_no_entry_that_says_it_was_done(stack: Stack, api: ApiClient) -> None:
    database = stack.services.database

    async def undone(db: Any) -> None:
        await note(db, "pauseQueue", "undone")
        raise DatabaseUnavailable("cut off")

    act = Act("boss", "admin", "api", "pauseQueue", "undone", detail={})
    with pytest.raises(DatabaseUnavailable):
        async with audited(database, stack.settings, act):
            await database.transact(undone)
    page = await api.get("/audit", target="undone")
    assert [(entry["result"], entry["detail"]) for entry in page["items"]] == [("failed", {"reason": "cut off"})]


async def test_a_transaction_that_is_repeated_and_finds_nothing_left_to_do_leaves_one_entry(
    stack: Stack, api: ApiClient
) -> None:
    """What the undone attempt noted went with it, so the door has to write what came of the other."""
    database, tries = stack.services.database, 0

    async def work(db: Any) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            await note(db, "pauseQueue", "repeated")
            raise RepeatTransaction

    act = Act("boss", "admin", "api", "pauseQueue", "repeated", detail={})
    async with audited(database, stack.settings, act):
        await database.transact(work)
    entries = (await api.get("/audit", target="repeated"))["items"]
    assert (tries, [entry["result"] for entry in entries]) == (2, ["ok"])


async def test_a_commit_whose_answer_never_came_is_told_as_done_and_as_failed_for_whoever_asked(
    stack: Stack, api: ApiClient
) -> None:
    act = Act("boss", "admin", "api", "pauseQueue", "image-upload", detail={})
    arm("operating.by_hand._set_paused:cut")
    try:
        with pytest.raises(DatabaseUnavailable):
            async with audited(stack.services.database, stack.settings, act):
                await pause(stack.services, "image-upload")
    finally:
        arm(None)
    entries = (await api.get("/audit", target="image-upload", action="pauseQueue", limit=2))["items"]
    assert [entry["result"] for entry in entries] == ["failed", "ok"]
    assert await stack.value("SELECT paused FROM queues WHERE name = 'image-upload'")
    await api.call("POST", "/queues/image-upload/resume")


async def test_what_takes_many_transactions_leaves_a_trace_before_the_first(stack: Stack, api: ApiClient) -> None:
    act = Act("boss", None, "cli", "repairMedia", "many", detail={})
    async with audited(stack.services.database, stack.settings, act):
        await verify_media(stack.services, repair=True)
    after, before = (await api.get("/audit", target="many"))["items"]
    assert (before["result"], before["detail"]) == ("ok", {"begun": True})
    assert after["result"] == "ok"
    act = Act("boss", None, "cli", "deleteOrphans", "many", detail={})
    async with audited(stack.services.database, stack.settings, act):
        await find_orphans(stack.services, older_than_s=0, delete=True)
    after, before = (await api.get("/audit", target="many", action="deleteOrphans"))["items"]
    assert (before["detail"], after["detail"]) == ({"begun": True}, {"addresses": 0, "removed": 0})


async def test_what_was_done_stays_done_where_no_entry_can_be_written(
    stack: Stack, api: ApiClient, capsys: pytest.CaptureFixture[str]
) -> None:
    away = Database("postgresql://nobody@127.0.0.1:1/nothing")
    act = Act("boss", "admin", "api", "retryFailed", "unwritten", detail={})
    async with audited(away, stack.settings, act):
        pass
    await away.close()
    assert "no entry in the audit trail" in "".join(capsys.readouterr())
    assert (await api.get("/audit", target="unwritten"))["items"] == []


async def test_whoever_was_told_of_an_outage_waits_a_second_for_the_entry_about_it(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """PostgreSQL may stand still: each further wait for it would be one on top of the ten seconds of an answer."""
    monkeypatch.setattr(acting_module, "AFTER_OUTAGE_S", 0.05)
    act = Act("boss", "admin", "api", "retryFailed", "unwritten", detail={})
    assert stack.settings.database_url is not None
    full = Database(stack.settings.database_url.get_secret_value(), pool_size=1, wait_s=300)
    async with full.begin():  # nobody else gets a connection of it
        with pytest.raises(DatabaseUnavailable):
            async with asyncio.timeout(60), audited(full, stack.settings, act):
                raise DatabaseUnavailable("away")
    await full.close()
    assert "no answer in time" in "".join(capsys.readouterr())


async def test_why_something_went_wrong_does_not_say_where_the_feed_is(stack: Stack, api: ApiClient) -> None:
    secret = stack.settings.base_url
    act = Act("boss", "admin", "api", "discoverSuppliers", "masked", detail={})
    with pytest.raises(OriginUnavailable):
        async with audited(stack.services.database, stack.settings, act):
            raise OriginUnavailable(f"{secret}/Import/Import.txt: no answer")
    reason = (await newest(api, target="masked"))["detail"]["reason"]
    assert reason.endswith("/Import/Import.txt: no answer")
    assert secret not in reason
    assert secret.rpartition("/")[2] not in reason


async def test_what_is_stopped_before_its_end_is_told(stack: Stack, api: ApiClient) -> None:
    act = Act("boss", None, "cli", "retryFailed", "stopped", detail={"retried": 500})
    with pytest.raises(asyncio.CancelledError):
        async with audited(stack.services.database, stack.settings, act):
            raise asyncio.CancelledError
    entry = await newest(api, target="stopped")
    assert (entry["result"], entry["detail"]) == ("failed", {"retried": 500, "reason": "stopped before its end"})


async def test_whatever_it_says_is_written_down_and_no_longer_than_one_reads(stack: Stack, api: ApiClient) -> None:
    odd = 'a\x00b\ud800 \\u0000"'
    act = Act(
        "boss", None, "api", "startSync", odd + "x" * 400, detail={"reason": odd, "skus": [str(n) for n in range(99)]}
    )
    async with audited(stack.services.database, stack.settings, act):
        pass
    entry = await newest(api)
    assert entry["target"].startswith('a\ufffdb? \\u0000"xxx')
    assert len(entry["target"]) == 300
    assert entry["detail"]["reason"] == 'a\ufffdb? \\u0000"'
    assert entry["detail"]["skus"] == [*map(str, range(20)), "and 79 more"]


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit"])
async def test_an_entry_is_never_changed(stack: Stack, api: ApiClient, statement: str) -> None:
    before = await api.all_pages("/audit", limit=500)
    with pytest.raises(StatementRefused):
        async with stack.services.database.begin() as db:
            await db.exec_driver_sql(statement)
    assert await api.all_pages("/audit", limit=500) == before


async def test_entries_come_the_newest_first_by_filter_page_and_line(api: ApiClient) -> None:
    for _ in range(3):
        await api.call("POST", "/queues/image-upload/resume")
    everything = await api.all_pages("/audit", limit=500)
    assert [entry["id"] for entry in everything] == sorted((entry["id"] for entry in everything), reverse=True)
    assert await api.all_pages("/audit", limit=2, target="image-upload") == [
        entry for entry in everything if entry["target"] == "image-upload"
    ]
    since, until = everything[2]["at"], everything[0]["at"]
    between = [entry for entry in everything if since <= entry["at"] < until]
    assert (await api.get("/audit", since=since, until=until))["items"] == between
    for params, expected in (({}, everything), ({"limit": 2}, everything[:2]), ({"actor": "somebody else"}, [])):
        answer = await api.http.get("/api/v1/audit", params=params, headers=NDJSON)
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert [json.loads(line) for line in answer.text.splitlines()] == expected
    future = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert (await api.get("/audit", since=future))["items"] == []


async def test_the_trail_is_for_admins(api: ApiClient) -> None:
    await api.problem("GET", "/audit", 403, headers={"X-API-Key": KEYS["reader"]})
    await api.problem("GET", "/audit?cursor=WyJ0IiwxLCJ4Il0", 422)


async def test_the_command_line_shows_entries_in_full_within_80_columns(
    api: ApiClient, stack: Stack, tmp_path: Path
) -> None:
    run = "5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8"
    await api.problem("POST", f"/runs/{run}/cancel", 404)
    env = environment_of(stack) | {"COLUMNS": "80"}
    shown = await command(tmp_path, env, "audit", "--target", run, "--limit", "1")
    line, *rest = shown.out.splitlines()
    assert line.endswith("  boss (admin) by api: cancelRun refused")
    assert " ".join(" ".join(rest).split()) == f'{run} {{"reason": "there is no run {run}"}} 127.0.0.1'
    as_json = await command(tmp_path, env, "audit", "--actor", "boss", "--since", "2020-01-01", "--json")
    assert as_json.json == (await api.get("/audit", actor="boss", limit=20))["items"]
    wrong = await command(tmp_path, env, "audit", "--since", "yesterday")
    assert wrong.code == 2
    assert len(wrong.err.splitlines()) == 1
