"""The dashboard over HTTP: who may see and do what, what a form needs, and the feed is never taken for markup."""

from __future__ import annotations

import hashlib
import hmac
import html
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.api import sessions
from app.dashboard.entering import PageRoute
from app.dashboard.pages import PAGES
from app.dashboard.queues import VERBS
from app.dashboard.runs import FAILED_SHOWN
from app.dashboard.showing import FORM_COOKIE
from app.settings import Settings
from tests.support.api_client import serve
from tests.support.dashboard_visits import KEYS, SECRETS, TOKEN, browsing, send
from tests.support.ledger_rows import add_jobs, add_run
from tests.support.plain_http import plain_client
from tests.support.receiver import Receiver, free_port, listening
from tests.support.stack import Servers, Stack, open_stack

EVIL = '<script>alert(1)</script><img src=x onerror="alert(2)">'
DESCRIBED = json.loads((Path(__file__).parents[2] / "openapi.json").read_text())["paths"]

NOBODY_ELSE_WRITES = "UPDATE minutes_head SET minute = now() + interval '1 day'"
MINUTES = """
WITH written AS (INSERT INTO service_minutes SELECT date_trunc('minute', now()) - interval '2 min', 2, 1, 5, 2000000)
INSERT INTO queue_minutes SELECT date_trunc('minute', now()) - interval '2 min', name, 10, 1, 4, 0, 60 FROM queues
"""


@pytest.fixture(scope="module")
async def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A synced catalogue, in which what the feed can say is hostile."""
    async with open_stack(servers, tmp_path_factory.mktemp("stack"), api_keys=KEYS) as opened:
        await opened.sync("A23")
        run = await opened.run("A23")

        async def poison(db: Any) -> None:
            await db.execute(
                text("""
                INSERT INTO problems (run_id, severity, stage, kind, url, sku, reason, job_id)
                VALUES (:run, 'error', 'family', :evil, 'javascript:alert(1)', :evil, :evil, :evil)"""),
                {"run": run["id"], "evil": EVIL},
            )
            await db.execute(text("UPDATE suppliers SET name = :evil"), {"evil": EVIL})
            await db.execute(text("UPDATE runs SET error = :evil"), {"evil": EVIL})

        await opened.services.database.transact(poison)
        yield opened


@pytest.fixture(scope="module")
async def url(stack: Stack) -> AsyncIterator[str]:
    async with serve(stack.settings) as address:
        yield address


async def pages_of(stack: Stack) -> list[str]:
    run = await stack.run("A23")
    sku = await stack.value("SELECT min(sku) FROM products")
    job = await stack.value("SELECT min(id) FROM jobs WHERE queue = 'image-upload'")
    return [
        "/", "/runs", f"/runs/{run['id']}", "/queues", "/queues/image-upload", "/queues/product-family?state=failed",
        f"/queues/image-upload?q={sku}", f"/queues/image-upload/jobs/{job}", "/catalogue", "/catalogue?q=bag",
        f"/catalogue/{sku}", "/suppliers", "/suppliers/A23", "/suppliers/A23?schedule=*/5+*+*+*+*&timeZone=UTC",
        "/workers",
    ]  # fmt: skip


async def test_a_stranger_is_asked_to_sign_in_and_comes_back_to_where_he_wanted_to_go(stack: Stack, url: str) -> None:
    async with browsing(url) as http:
        assert "Sign in" in (await http.get("/")).text
        for path in [*(await pages_of(stack))[1:], "/webhooks", "/suppliers/A23/dry-run"]:
            answer = await http.get(path, follow_redirects=False)
            assert (answer.status_code, answer.headers["location"].partition("=")[0]) == (303, "/sign-in?to"), path
        asked = await http.get("/runs")
        assert 'name="to" value="/runs"' in asked.text
        refused = await send(http, "/sign-in", {"key": "wrong"}, page="/sign-in")
        assert (refused.status_code, "not known" in refused.text) == (401, True)
        went = await send(http, "/sign-in", {"key": SECRETS["viewer"], "to": "/runs"}, page="/sign-in")
        assert went.url.path == "/runs"
        away = await send(http, "/sign-in", {"key": SECRETS["viewer"], "to": "//evil.example/"}, page="/runs")
        assert (away.url.host, away.url.path) == ("127.0.0.1", "/")


@pytest.mark.parametrize("role", SECRETS)
async def test_every_page_answers_and_offers_only_what_the_role_may_do(stack: Stack, url: str, role: str) -> None:
    async with browsing(url, role) as http:
        for path in await pages_of(stack):
            answer = await http.get(path)
            assert answer.status_code == 200, (path, answer.text[-600:])
            assert answer.headers["cache-control"] == "no-store"
            actions = set(re.findall(r'<form method="post" action="([^"]+)"', answer.text)) - {"/sign-out"}
            assert role != "viewer" or not actions, (path, actions)
            assert role == "admin" or not [to for to in actions if to.endswith(("/reset", "/discover", "/guard"))], path
        assert {(await http.get(to)).status_code for to in ("/webhooks", "/audit")} == {200 if role == "admin" else 403}
        assert ("Buying" in (await http.get((await pages_of(stack))[10])).text) == (role != "viewer")


@pytest.mark.parametrize(
    ("path", "needs"),
    [("/sync", "operator"), ("/runs/{run}/cancel", "operator"), ("/runs/{run}/confirm-removals", "operator"),
     ("/queues/image-upload/pause", "operator"), ("/queues/image-upload/jobs/x/retry", "operator"),
     ("/suppliers", "admin"), ("/suppliers/discover", "admin"), ("/suppliers/A23/reset", "admin"),
     ("/suppliers/A23/schedule", "admin"), ("/webhooks", "admin")],
)  # fmt: skip
async def test_what_a_role_may_not_do_is_refused_too(stack: Stack, url: str, path: str, needs: str) -> None:
    asked = path.format(run=(await stack.run("A23"))["id"])
    for role in SECRETS:
        if list(SECRETS).index(role) < list(SECRETS).index(needs):
            async with browsing(url, role) as http:
                assert (await send(http, asked, {}, page="/runs")).status_code == 403, role


async def test_a_form_needs_its_token_and_a_page_of_our_own(stack: Stack, url: str) -> None:
    async with browsing(url, "operator") as http:
        path = "/queues/image-upload/pause"
        for fields in ({}, {"token": ""}, {"token": "0" * 64}):
            assert (await http.post(path, data=fields)).status_code == 403
        token = TOKEN.search((await http.get("/queues")).text)
        assert token is not None
        for header in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Origin": "https://evil.example"},
            {"Origin": "http://[::1"},
        ):
            assert (await http.post(path, data={"token": token[1]}, headers=header)).status_code == 403
        async with browsing(url, "operator") as other:
            assert (await other.post(path, data={"token": token[1]})).status_code == 403
        assert not await stack.value("SELECT paused FROM queues WHERE name = 'image-upload'")
        paused = await http.post(path, data={"token": token[1]}, headers={"Sec-Fetch-Site": "same-origin"})
        assert "Pictures is paused" in paused.text
        assert "is paused: what runs" not in (await http.get("/queues")).text, "a line is shown once"
        await send(http, "/queues/image-upload/resume", {})
        assert not await stack.value("SELECT paused FROM queues WHERE name = 'image-upload'")


@pytest.mark.parametrize("word", ["", "x", "0" * 63])
async def test_a_browsers_word_that_is_none_of_ours_is_replaced(url: str, word: str) -> None:
    """An empty one would make the token a constant, and block every form."""
    async with browsing(url, "operator") as http:
        planted = {"Cookie": f"{FORM_COOKIE}={word}; {sessions.COOKIE}={http.cookies[sessions.COOKIE]}"}
        answer = await http.get("/queues", headers=planted)
        assert any(line.startswith(f"{FORM_COOKIE}=") for line in answer.headers.get_list("set-cookie"))
        session = http.cookies[sessions.COOKIE].encode()
        token = hmac.new(word.encode(), session, hashlib.sha256).hexdigest()
        path = "/queues/image-upload/pause"
        assert (await http.post(path, data={"token": token}, headers=planted)).status_code == 403
        assert "is paused" in (await send(http, path, {})).text
        await send(http, "/queues/image-upload/resume", {})


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"bearer {SECRETS['viewer']}", 200),
        (f"Bearer {SECRETS['viewer']}", 200),
        (SECRETS["viewer"], 303),
        (f"Basic {SECRETS['viewer']}", 303),
    ],
)
async def test_a_key_in_a_header_opens_pages_as_it_opens_the_api(url: str, header: str, status: int) -> None:
    async with plain_client(base_url=url, timeout=30) as http:
        given = {"Authorization": header}
        assert (await http.get("/runs", headers=given)).status_code == status
        assert (await http.get("/api/v1/runs", headers=given)).status_code == (200 if status == 200 else 401)


async def test_what_the_feed_says_is_text_and_never_markup_or_a_link_that_runs(stack: Stack, url: str) -> None:
    async with browsing(url, "admin") as http:
        shown = 0
        for path in await pages_of(stack):
            page = (await http.get(path)).text
            assert "<script>alert" not in page
            assert 'onerror="' not in page
            assert not re.findall(r'(?:href|src|action)="\s*javascript:', page), path
            shown += page.count(html.escape("<script>alert(1)"))
        assert shown > 3


async def test_an_address_that_is_masked_is_text_since_it_leads_nowhere(stack: Stack, url: str) -> None:
    stack.server.faults.add("*/A360/*.json", "broken_json", times=1)
    await stack.sync("A360")
    run = (await stack.run("A360"))["id"]
    async with browsing(url, "viewer") as http:
        pages = [(await http.get(path)).text for path in (f"/runs/{run}", "/catalogue/A23-100000?supplier=A23")]
    for page in pages:
        assert '<span class="address">http://127.0.0.1' in page
        assert not re.findall(r'href="[^"]*…', page)


async def test_many_problems_are_not_told_as_the_number_of_a_page(
    stack: Stack, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await add_run(stack)
    add = """
    INSERT INTO problems (run_id, severity, stage, kind, reason)
    SELECT CAST(:run AS uuid), 'error', 'supplier', 'origin-refused', 'answered 500' FROM generate_series(1, 8)"""
    await stack.services.database.transact(lambda db: db.execute(text(add), {"run": run}))
    async with browsing(url, "viewer") as http:
        whole = (await http.get(f"/runs/{run}")).text
        monkeypatch.setattr("app.dashboard.runs.PROBLEMS_READ", 6)
        first = (await http.get(f"/runs/{run}")).text
        following = re.search(r'href="([^"]*after=[^"]*)"', first)
        assert following is not None
        last = (await http.get(f"/runs/{run}{html.unescape(following[1])}")).text
    assert [re.findall(r"<b>([^<]*)×</b>", page) for page in (whole, first, last)] == [["8"], ["6+"], ["2+"]]
    assert ("and 3 more" in whole, "and 1+ more" in first) == (True, True)


@pytest.mark.parametrize("prefix", ["", "/shop"])
async def test_a_path_that_leads_nowhere_is_a_page_in_a_browser_and_a_problem_elsewhere(
    stack: Stack, prefix: str
) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    settings = Settings.model_validate({**stack.settings.model_dump(), "root_path": prefix})
    async with serve(settings) as url, browsing(url) as http:
        page = await http.get(f"{prefix}/nosuch", headers=browser)
        assert (page.status_code, page.headers["content-type"][:9]) == (404, "text/html")
        assert f"there is nothing at {prefix}/nosuch" in page.text
        for path, headers in (("/nosuch", {}), ("/nosuch", {"Accept": "*/*"}), ("/api/v1/nosuch", browser)):
            answer = await http.get(f"{prefix}{path}", headers=headers)
            assert (answer.status_code, answer.json()["detail"]) == (404, f"there is nothing at {prefix}{path}")
        assert (await http.post(f"{prefix}/nosuch", headers=browser)).json()["status"] == 404


@pytest.mark.parametrize(("number", "says"), [(FAILED_SHOWN, False), (FAILED_SHOWN + 1, True)])
async def test_a_run_says_where_the_failed_jobs_are_that_it_does_not_show(
    stack: Stack, url: str, number: int, says: bool
) -> None:
    run = await add_run(stack)
    await add_jobs(stack, run, queue="image-upload", state="failed", count=number)
    rest = f'href="/queues/image-upload?state=failed&amp;runId={run}"'
    async with browsing(url, "viewer") as http:
        page = (await http.get(f"/runs/{run}")).text
        assert (rest in page) == says
        assert (f"The newest {FAILED_SHOWN} of a queue" in page) == says
        listed = await http.get("/queues/image-upload", params={"state": "failed", "runId": str(run)})
        assert len(set(re.findall(r"/queues/image-upload/jobs/([^/\"]+)\"", listed.text))) == number


async def test_errors_are_pages_that_lead_on(stack: Stack, url: str) -> None:
    async with browsing(url, "admin") as http:
        for path, status in (
            ("/runs/nope", 404), ("/catalogue/nope", 404), ("/queues/nope", 404), ("/suppliers/nope", 404),
            ("/queues/image-upload/jobs/nope", 404), ("/runs?cursor=x", 422), ("/runs?supplier=nope", 404),
        ):  # fmt: skip
            answer = await http.get(path)
            assert (answer.status_code, "Not possible" in answer.text) == (status, True), path
            assert answer.headers["content-type"].startswith("text/html")


async def test_what_a_form_came_to_is_told_also_when_it_came_to_nothing(stack: Stack, url: str) -> None:
    async with browsing(url, "admin") as http:
        run = (await stack.run("A23"))["id"]
        job = await stack.value("SELECT min(id) FROM jobs WHERE queue = 'image-upload'")
        for path, fields, said in (
            ("/suppliers", {"code": "NEW1", "name": "New"}, "NEW1 was added"),
            ("/suppliers", {"code": "NEW1"}, "there is a supplier NEW1 already"),
            ("/suppliers", {"code": "A B"}, "code: should have no slash and no blank in it"),
            ("/suppliers", {"code": ".."}, "should be neither . nor .."),
            ("/suppliers/NEW1/schedule", {"schedule": "30 3 * * *", "timeZone": "Europe/Amsterdam"}, "is saved"),
            ("/suppliers/NEW1/schedule", {"schedule": "often"}, "not a cron expression"),
            ("/suppliers/NEW1/guard", {"percent": "35"}, "The guard is set"),
            ("/suppliers/NEW1/guard", {"percent": "many"}, "should be at least 0"),
            ("/suppliers/NEW1/active", {"active": "no"}, "It is inactive"),
            ("/suppliers/NEW1/reset", {}, "counts as unknown"),
            ("/suppliers/discover", {}, "names no supplier that is new"),
            ("/suppliers/check-feed", {}, "The feed answers"),
            ("/sync", {"supplier": "NEW1"}, "inactive"),
            (f"/runs/{run}/cancel", {}, "is over"),
            (f"/runs/{run}/confirm-removals", {}, "nothing to confirm"),
            (f"/queues/image-upload/jobs/{job}/retry", {}, "only a failed job can be retried"),
            (f"/queues/image-upload/jobs/{job}/cancel", {}, "already"),
            ("/queues/image-upload/retry-failed", {}, "failed jobs wait again"),
        ):
            answer = await send(http, path, fields)
            page = html.unescape(answer.text)
            assert said in page, (path, fields, page[-900:])
            assert answer.request.method == "GET", "what is loaded again sends no form again"
        assert (await http.get("/suppliers/NEW1")).text.count("<li><time datetime") == 5
        assert set(VERBS) == {"retry", "cancel", "delete"}


async def test_blanks_around_what_was_typed_into_a_field_are_not_looked_for(url: str) -> None:
    async with browsing(url, "viewer") as http:
        for path in ("/queues/image-upload", "/runs", "/catalogue"):
            whole, typed = await http.get(f"{path}?supplier=A23"), await http.get(f"{path}?supplier=%20A23%20")
            assert (typed.status_code, typed.text.count("<tr")) == (200, whole.text.count("<tr")), path
        listed, blank = await http.get("/queues/image-upload"), await http.get("/queues/image-upload?q=%20")
        assert blank.text.count("/queues/image-upload/jobs/") == listed.text.count("/queues/image-upload/jobs/") > 0


async def test_what_postgresql_cannot_keep_is_refused_by_every_page(stack: Stack, url: str) -> None:
    fields = {
        "/catalogue": ("q", "supplier", "category"), "/catalogue/A360-1": ("supplier",),
        "/queues/image-upload": ("state", "runId", "supplier", "q"), "/runs": ("supplier", "status"),
        "/suppliers": ("after",), "/audit": ("actor", "action", "target"),
    }  # fmt: skip
    async with browsing(url, "admin") as http:
        for path in (f"{page}?{name}=a%00b" for page, names in fields.items() for name in names):
            answer = await http.get(path)
            assert (answer.status_code, "Value error" in answer.text) == (422, False), path


async def test_a_form_has_the_limits_of_the_api(stack: Stack, url: str) -> None:
    async with browsing(url, "operator") as http:
        many = await send(http, "/sync", {"supplier": "A360", "skus": "A360-1 " * 10_001})
        assert "at most 10000" in html.unescape(many.text)


async def test_a_sync_that_is_started_here_says_so(stack: Stack, url: str) -> None:
    async with browsing(url, "operator") as http:
        dry = await http.get("/suppliers/A360/dry-run")
        assert (dry.status_code, "Start this sync" in dry.text, "A360-1" in dry.text) == (200, True, True)
        began = await send(http, "/sync", {"supplier": "A360"})
        assert ("The sync has begun" in began.text, began.url.path.split("/")[1]) == (True, "runs")
        assert (await stack.run("A360"))["trigger"] == "dashboard"
        assert "under way already" in (await send(http, "/sync", {"supplier": "A360"})).text
        stopped = await send(http, f"{began.url.path}/cancel", {})
        assert "is being cancelled" in stopped.text


async def test_webhooks_are_added_pinged_and_deleted(stack: Stack, url: str) -> None:
    async with browsing(url, "admin") as http, listening(Receiver(free_port())) as receiver:
        added = await send(http, "/webhooks", {"url": receiver.url, "run.finished": "yes"})
        assert (added.request.method, added.url.path) == ("GET", "/webhooks"), "loaded again it adds no other"
        (secret,) = re.findall(r"whsec_[\w+/=]+", added.text)
        (webhook,) = await stack.rows("SELECT CAST(id AS text) AS id, events FROM webhooks")
        assert webhook["events"] == ["run.finished"]
        here = f"/webhooks/{webhook['id']}"
        assert "The ping was taken" in (await send(http, f"{here}/ping", {})).text
        (ping,) = receiver.of("ping")
        ping.verify(secret)
        for shown_later in ("/webhooks", here):
            assert secret not in (await http.get(shown_later)).text
        assert "told nothing" in (await send(http, f"{here}/active", {"active": "no"})).text
        assert "is deleted" in (await send(http, f"{here}/delete", {})).text
        assert "url: " in (await send(http, "/webhooks", {"url": "http://10.1.2.3/", "run.finished": "yes"})).text


async def test_without_keys_nobody_has_to_sign_in(stack: Stack) -> None:
    settings = Settings.model_validate({**stack.settings.model_dump(), "api_keys": ()})
    async with serve(settings) as open_url, plain_client(base_url=open_url, follow_redirects=True) as http:
        page = (await http.get("/")).text
        assert ("Overview</h1>" in page, "Sign out" in page) == (True, False)
        assert "Pictures is paused" in (await send(http, "/queues/image-upload/pause", {})).text
        await send(http, "/queues/image-upload/resume", {})
        assert (await http.post("/queues/image-upload/pause")).status_code == 403


async def test_charts_show_what_the_minutes_came_to_and_say_it_in_words_and_a_table(stack: Stack, url: str) -> None:
    for statement in (NOBODY_ELSE_WRITES, "DELETE FROM service_minutes", "DELETE FROM queue_minutes", MINUTES):
        async with stack.services.database.begin() as db:
            await db.execute(text(statement))
    async with browsing(url, "viewer") as http:
        overview = html.unescape((await http.get("/")).text)
        assert "30 jobs done and 3 failed in the last 6 hours." in overview
        assert "2 runs ended, 1 failed; 5 pictures stored, 2.0 MB." in overview
        assert overview.count('<svg viewBox="0 0 720 100"') == 2
        queues = (await http.get("/queues?window=14d")).text
        assert "10 jobs done and 1 failed in the last 14 days." in queues
        assert len(re.findall(r'<path class="lost" d="M[^"]', queues)) == 3
        assert 'style="' not in queues + overview, "the policy allows none"
        assert "Pictures" in (await http.get("/queues?window=nonsense")).text


async def test_live_pages_ask_for_their_content_alone(stack: Stack, url: str) -> None:
    async with browsing(url, "viewer") as http:
        part = (await http.get("/", headers={"X-Fragment": "1"})).text
        assert ("<html" in part, "Overview" in part) == (False, True)
        assert part.strip() in (await http.get("/")).text or "s ago" in part


async def test_every_form_leaves_an_entry_that_says_who_and_what_came_of_it(stack: Stack, url: str) -> None:
    named = [
        (route.name, route.path)
        for module in PAGES
        for route in module.router.routes
        if isinstance(route, PageRoute) and route.audits and "POST" in (route.methods or ())
    ]
    operations = {operation["operationId"] for verbs in DESCRIBED.values() for operation in verbs.values()}
    assert {name for name, _ in named} <= operations | {"pingWebhook", "act_on_job", "act_on_queue"}
    async with browsing(url, "viewer") as http:
        for name, path in named:
            verb = {"act_on_job": "retry", "act_on_queue": "pause"}.get(name, "x")
            filled = re.sub(r"{\w+:segment}", "5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8", path.replace("{verb}", verb))
            assert (await send(http, filled.replace("{queueName}", "image-upload"), {})).status_code == 403
            entry = (await stack.rows("SELECT * FROM audit ORDER BY id DESC LIMIT 1"))[0]
            assert (entry["actor"], entry["via"], entry["result"]) == ("viewer-key", "dashboard", "refused"), path
            assert entry["action"] == name
    async with browsing(url, "admin") as http:
        await send(http, "/queues/image-upload/pause", {})
        await send(http, "/queues/image-upload/resume", {})
        await send(http, "/queues/image-upload/jobs/nope/retry", {})
        page = (await http.get("/audit")).text
        for said in ("pauseQueue", "resumeQueue", "retryJob", "there is no job nope"):
            assert said in page
