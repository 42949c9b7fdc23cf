"""Signing in to the dashboard: where it leads, what a button is answered before it, and what a session is."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator

import pytest

from app.api import sessions
from app.settings import Settings
from tests.support.api_client import serve
from tests.support.dashboard_visits import KEYS, SECRETS, TOKEN, browsing, send
from tests.support.plain_http import plain_client
from tests.support.stack import Servers, Stack, open_stack


@pytest.fixture(scope="module")
async def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with open_stack(servers, tmp_path_factory.mktemp("stack"), api_keys=KEYS) as opened:
        yield opened


@pytest.fixture(scope="module")
async def url(stack: Stack) -> AsyncIterator[str]:
    async with serve(stack.settings) as address:
        yield address


@pytest.mark.parametrize(
    "path",
    ["/runs?supplier=A23&status=failed", "/catalogue/A%2F23%3F1?supplier=A23", "/catalogue/%C3%A9lan%2520x?q=a%26b"],
)
async def test_signing_in_leads_to_the_very_page_that_was_asked_for_also_after_a_wrong_key(
    stack: Stack, path: str
) -> None:
    for prefix in ("", "/shop"):
        settings = Settings.model_validate({**stack.settings.model_dump(), "root_path": prefix})
        async with serve(settings) as url, browsing(url) as http:
            page = await http.get(f"{prefix}{path}")
            for key, status in (("wrong", 401), (SECRETS["viewer"], 303)):
                fields = dict(re.findall(r'name="(token|to)" value="([^"]*)"', page.text))
                form = {name: html.unescape(value) for name, value in fields.items()} | {"key": key}
                page = await http.post(f"{prefix}/sign-in", data=form, follow_redirects=False)
                assert page.status_code == status
            assert page.headers["location"] == f"{prefix}{path}"
            again = await http.get(f"{prefix}/sign-in", params={"to": path}, follow_redirects=False)
            assert again.headers["location"] == f"{prefix}{path}", "whoever is signed in has nothing to do here"
            away = await http.get(f"{prefix}/sign-in", params={"to": "//evil.example"}, follow_redirects=False)
            assert away.headers["location"] == f"{prefix}/"


async def test_a_button_that_a_stranger_presses_is_said_to_have_done_nothing(stack: Stack, url: str) -> None:
    async with browsing(url, "operator") as http:
        shown = TOKEN.search((await http.get("/queues")).text)
        assert shown is not None
        await send(http, "/sign-out", {})
        asked = await http.post("/queues/image-upload/pause", data={"token": shown[1]})
        assert (asked.url.path, "Nothing was done" in asked.text) == ("/sign-in", True)
        assert "Nothing was done" not in (await http.get("/sign-in")).text, "it is said once"
        for page, back in (
            (f"{url}/queues?a=b", "%2Fqueues%3Fa%3Db"),
            ("https://evil.example//evil.example", "%2F"),
            ("", "%2F"),
        ):
            pressed = await http.post("/queues/product-family/pause", headers={"Referer": page}, follow_redirects=False)
            assert pressed.headers["location"].replace("/", "%2F").endswith(f"to={back}"), page
    assert not (await stack.value("SELECT paused FROM queues WHERE name = 'image-upload'"))


async def test_the_cookie_is_closed_to_scripts_and_read_only_for_the_api(stack: Stack, url: str) -> None:
    async with browsing(url, "operator") as http:
        signed = await send(http, "/sign-in", {"key": SECRETS["operator"]}, page="/runs")
        told = [line for line in signed.history[0].headers.get_list("set-cookie") if line.startswith(sessions.COOKIE)]
        assert {"HttpOnly", "SameSite=lax", "Path=/", f"Max-Age={sessions.LASTS_S}"} <= set(told[0].split("; "))
        assert (await http.get("/api/v1/runs")).status_code == 200
        assert (await http.post("/api/v1/queues/image-upload/pause")).status_code == 401
        out = await send(http, "/sign-out", {})
        assert ("API key" in out.text, (await http.get("/api/v1/runs")).status_code) == (True, 401)
        await send(http, "/sign-in", {"key": "nobody's secret"}, page="/runs")
    entries = await stack.rows("SELECT actor, role, via, action, result, address FROM audit ORDER BY id DESC LIMIT 3")
    assert [entry.pop("action") for entry in entries] == ["signOut", "signIn", "signIn"], "no stranger fills the table"
    who = {"actor": "operator-key", "role": "operator", "via": "dashboard", "result": "ok", "address": "127.0.0.1"}
    assert entries == [who] * 3


async def test_a_session_survives_a_restart_and_ends_with_its_key(stack: Stack, url: str) -> None:
    async with browsing(url, "admin") as http:
        cookie = {"Cookie": f"{sessions.COOKIE}={http.cookies[sessions.COOKIE]}"}
    left = ",".join(part for part in KEYS.split(",") if "admin" not in part)
    for keys, status in ((KEYS, 200), (left, 401), (f"{left},admin-key:admin:another-secret-of-16", 401)):
        settings = Settings.model_validate({**stack.settings.model_dump(), "api_keys": keys})
        async with serve(settings) as again, plain_client(base_url=again) as http:
            assert (await http.get("/api/v1/runs", headers=cookie)).status_code == status
