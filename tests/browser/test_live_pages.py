"""A page that draws itself anew takes nothing from whoever is busy on it: words, focus, opened details, a press."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Page, Route, expect

from app.api.sessions import COOKIE
from app.settings import Settings
from app.sync.operating import by_hand
from tests.browser.visits import sign_in, visiting
from tests.support.api_client import api_at, serve
from tests.support.dashboard_visits import KEYS, browsing
from tests.support.ledger_rows import add_jobs, add_run
from tests.support.stack import Servers, Stack, open_stack

pytestmark = pytest.mark.browser

WAIT_MS = 20_000
CATCH_CLICKS = """
addEventListener("click", (event) => {
  event.preventDefault();
  window.clicked = event.target.innerText;
}, true);
"""


@pytest.fixture(scope="module")
async def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A catalogue that nobody works on."""
    async with open_stack(servers, tmp_path_factory.mktemp("stack")) as opened:
        await opened.sync("A23")
        yield opened


@pytest.fixture(scope="module")
async def url(stack: Stack) -> AsyncIterator[str]:
    async with serve(stack.settings) as address:
        yield address


@asynccontextmanager
async def first_look(page: Page) -> AsyncIterator[None]:
    """What is done in here is done before the page has drawn itself anew for the first time."""
    async with page.expect_response(lambda answer: "x-fragment" in answer.request.headers) as looked:
        yield
    await (await looked.value).finished()
    await expect(page.locator("[data-live-word]")).to_have_text("Live")
    await page.evaluate("new Promise((done) => setTimeout(done, 100))")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/runs", "input[name=supplier]"),
        ("/queues/image-upload", "input[name=q]"),
        ("/suppliers/A23", "textarea"),
        ("/suppliers/A23", "input[name=schedule]"),
    ],
)
async def test_what_is_typed_right_after_the_load_stays(browser: Browser, url: str, path: str, field: str) -> None:
    async with visiting(browser) as visit:
        page = visit.page
        await page.goto(url + path)
        async with first_look(page):
            await page.locator(field).focus()
            await page.keyboard.type("half a wo")
        await page.keyboard.type("rd")
        await expect(page.locator(field)).to_have_value("half a word")
        await expect(page.locator(field)).to_be_focused()
        assert visit.wrong == []


async def test_what_is_opened_pressed_or_reached_by_tab_right_after_the_load_stays(browser: Browser, url: str) -> None:
    async with visiting(browser) as visit:
        page = visit.page
        await page.goto(f"{url}/queues")
        async with first_look(page):
            await page.get_by_text("As a table").first.click()
            await page.keyboard.press("Tab")
            reached = await page.evaluate_handle("document.activeElement")
        await expect(page.locator("details[open]")).to_have_count(1)
        assert await reached.evaluate("node => node === document.activeElement && node !== document.body")
        await page.goto(f"{url}/queues/image-upload")
        await page.evaluate(CATCH_CLICKS)
        async with first_look(page):
            await page.get_by_role("button", name="Pause").hover()
            await page.mouse.down()
        await page.mouse.up()
        assert await page.evaluate("window.clicked") == "Pause"


async def test_a_block_that_appears_or_goes_leaves_what_is_below_it(browser: Browser, stack: Stack, url: str) -> None:
    async with visiting(browser) as visit, api_at(url) as api:
        page = visit.page
        await page.goto(f"{url}/suppliers/A23")
        async with first_look(page):
            await page.locator("input[name=percent]").fill("35")
            await page.locator("textarea").focus()
            await page.keyboard.type("A23-1")
        run = (await api.post("/sync", {"supplierId": "A23"}, 202))["jobs"][0]["runId"]
        await expect(page.get_by_role("link", name="Running now")).to_be_visible(timeout=WAIT_MS)
        await page.keyboard.type("0000")
        await by_hand.cancel_run(stack.services, run)
        await expect(page.get_by_role("link", name="Running now")).to_have_count(0, timeout=WAIT_MS)
        await page.keyboard.type("0")
        await expect(page.locator("textarea")).to_have_value("A23-100000")
        await expect(page.locator("input[name=percent]")).to_have_value("35")
        assert visit.wrong == []


async def test_a_button_that_appears_does_not_take_the_press_of_its_neighbour(
    browser: Browser, stack: Stack, url: str
) -> None:
    async with visiting(browser) as visit:
        page = visit.page
        await page.goto(f"{url}/queues/image-upload")
        await page.evaluate(CATCH_CLICKS)
        async with first_look(page):
            await page.get_by_role("button", name="Pause").focus()
        await add_jobs(stack, await add_run(stack), queue="image-upload", state="failed")
        await expect(page.get_by_role("button", name="Retry all 1 failed")).to_be_visible(timeout=WAIT_MS)
        await page.keyboard.press("Enter")
        assert await page.evaluate("window.clicked") == "Pause"
        assert visit.wrong == []


async def test_a_button_sends_once_and_works_again_when_its_request_was_stopped(browser: Browser, url: str) -> None:
    async with visiting(browser) as visit:
        page, sent = visit.page, asyncio.Queue[Route]()
        await page.route("**/queues/image-upload/pause", sent.put)
        await page.goto(f"{url}/queues/image-upload")
        chrome = await page.context.new_cdp_session(page)
        for _ in range(2):
            await page.get_by_role("button", name="Pause").dblclick(no_wait_after=True)
            under_way = await asyncio.wait_for(sent.get(), WAIT_MS / 1000)
            await chrome.send("Page.stopLoading")
            await expect(page.locator("form[data-sent]")).to_have_count(0)
            await under_way.abort()
        assert sent.empty()


async def test_a_page_is_loaded_anew_when_somebody_else_has_signed_in_in_another_tab(
    browser: Browser, stack: Stack
) -> None:
    settings = Settings.model_validate({**stack.settings.model_dump(), "api_keys": KEYS})
    async with serve(settings) as url, visiting(browser) as visit:
        page, cookies = visit.page, visit.page.context
        await sign_in(page, url, "admin")
        for role, offered in (("viewer", 0), ("operator", 1)):
            async with browsing(url, role) as http:
                await cookies.add_cookies([{"name": COOKIE, "value": http.cookies[COOKIE], "url": url}])
            await add_run(stack)
            await expect(page.locator(".who span")).to_have_text(f"{role}-key {role}", timeout=WAIT_MS)
            await expect(page.get_by_role("button", name="Sync all active ones")).to_have_count(offered)
        await cookies.clear_cookies(name=COOKIE)
        await add_run(stack)
        await expect(page.get_by_label("API key")).to_be_visible(timeout=WAIT_MS)
        await expect(page.locator("header")).not_to_contain_text("operator", timeout=WAIT_MS)
        assert visit.wrong == []
