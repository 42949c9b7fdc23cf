"""The dashboard in a real browser: the paths of a newcomer and of an operator, each role, and axe on each page.

One browser, one catalogue, real workers. No page may write to the console, ask another host, or break its policy.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import Browser, Page, expect
from sqlalchemy import text

from app.samplefeed import FeedSpec, SampleFeed
from app.settings import Settings
from app.sync.operating import by_hand
from tests.browser.visits import Visit, sign_in, visiting
from tests.support.api_client import api_at, serve
from tests.support.api_process import api_process
from tests.support.command_line import environment_of
from tests.support.dashboard_visits import KEYS, SECRETS
from tests.support.receiver import free_port
from tests.support.stack import Servers
from tests.support.worker_stack import Workers, worker_stack

pytestmark = pytest.mark.browser

EVIL = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
WAIT_MS = 60_000
COUNTED = {
    "Manifest": "manifest",
    "Documents": "documents",
    "Families": "families",
    "Variants": "variants",
    "Pictures": "images",
}
"""Rows of a run's counts, and their names in the API."""
LEVELS = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
}
MARKS = """
() => {
  const ground = getComputedStyle(document.body).backgroundColor;
  const marks = [".dot", ".state", ".flash", ".bar", ".timeline li::before", ".top nav a[aria-current]"];
  return [ground, marks.flatMap((mark) => [...document.querySelectorAll(mark.split("::")[0])].map((node) => {
    const style = getComputedStyle(node, mark.includes("::") ? "::before" : null);
    return [mark, style.backgroundColor, parseFloat(style.borderTopWidth)];
  }))];
}
"""
"""The page's ground, and each mark that a colour of ours makes, with its own and the width of its border."""
SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""


@pytest.fixture(scope="module")
async def workers(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Workers]:
    """A feed, workers, and no supplier yet."""
    feed = SampleFeed(FeedSpec.small(count=2, families=12, variants=1))
    async with worker_stack(servers, tmp_path_factory.mktemp("stack"), feed) as opened:
        await opened.stack.services.database.transact(lambda db: db.execute(text("DELETE FROM suppliers")))
        opened.spawn_all()
        await opened.ready()
        yield opened


@pytest.fixture(scope="module")
async def url(workers: Workers) -> AsyncIterator[str]:
    async with serve(workers.stack.settings) as address:
        yield address


async def press(page: Page, name: str) -> None:
    """Go to a button or link by keyboard and press it."""
    found = page.get_by_role("button", name=name).or_(page.get_by_role("link", name=name)).first
    for _ in range(80):
        await page.keyboard.press("Tab")
        if await found.evaluate("node => node === document.activeElement"):
            await page.keyboard.press("Enter")
            return
    raise AssertionError(f"{name} cannot be reached by keyboard")


def told(page: Page, said: str) -> Any:
    return expect(page.locator(".flash").filter(has_text=said)).to_be_visible(timeout=WAIT_MS)


async def test_a_newcomer_gets_from_nothing_to_a_mended_picture_by_keyboard(
    browser: Browser, workers: Workers, url: str, tmp_path: Path
) -> None:
    workers.stack.server.faults.add("picture", "status", status=404, times=1)
    async with visiting(browser) as visit:
        page = visit.page
        await page.add_init_script(SHIFTS)
        await page.goto(f"{url}/")
        await expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
        for scheme in ("dark", "light"):
            await page.emulate_media(color_scheme=scheme)
            assert await violations(page, f"welcome {scheme}") == []
        await press(page, "Discover suppliers")
        await told(page, "2 new: A23")
        await press(page, "Dry run of A23")
        await expect(page.get_by_role("heading", name="Dry run of A23")).to_be_visible()
        await expect(page.get_by_text("A23-100000", exact=True)).to_be_visible()
        await press(page, "Start this sync")
        await told(page, "The sync has begun")
        await expect(page.locator("h1 .state")).to_have_text("Completed with errors", timeout=WAIT_MS)
        run = await workers.stack.run("A23")
        assert run["trigger"] == "dashboard"
        async with api_at(url) as api:
            told_by_the_api = await api.get(f"/runs/{run['id']}")
        assert await counts_on(page) == {name: told_by_the_api[name] for name in COUNTED.values()}
        assert await page.evaluate("window.shifted") < 0.1
        await page.get_by_role("link", name=re.compile("^image-upload-")).first.focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("h1 .state")).to_have_text("Failed")
        await press(page, "Retry")
        await told(page, "waits again")
        await expect(page.locator("h1 .state")).to_have_text("Completed", timeout=WAIT_MS)
        await page.goto(f"{url}/catalogue")
        await page.screenshot(path=tmp_path / "catalogue.png")
        await page.locator(".products a").first.focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Variants")).to_be_visible()
        width = await page.locator(".thumbs img").first.evaluate(
            "async image => (await image.decode(), image.naturalWidth)"
        )
        assert width > 0
        well(visit, url)


async def test_an_operator_confirms_pauses_resumes_and_cancels(browser: Browser, workers: Workers, url: str) -> None:
    stack = workers.stack
    for row in (await stack.rows("SELECT file_name FROM documents ORDER BY file_name"))[:8]:
        stack.feed.hide_family(row["file_name"].removesuffix(".json"))
    async with visiting(browser) as visit:
        page = visit.page
        page.on("dialog", lambda dialog: dialog.accept())
        await page.goto(f"{url}/suppliers/A23")
        await page.get_by_role("button", name="Start a sync").click()
        await expect(page.get_by_role("heading", name="Removals are held back")).to_be_visible(timeout=WAIT_MS)
        await page.goto(f"{url}/")
        await page.get_by_role("link", name="A23: removals are held back").click()
        await page.get_by_role("button", name="Confirm these removals").click()
        await told(page, "Confirmed")
        await expect(page.locator("h1 .state")).to_have_text(re.compile("^Completed"), timeout=WAIT_MS)
        await expect(page.locator(".pair").filter(has_text="discontinued").locator("b")).not_to_have_text("0")
        await page.goto(f"{url}/queues/supplier-sync")
        await page.get_by_role("button", name="Pause").click()
        await told(page, "is paused")
        await page.goto(f"{url}/suppliers/A23")
        await page.get_by_role("button", name="Start a sync").click()
        await told(page, "The sync has begun")
        await page.get_by_role("button", name="Cancel this run").click()
        await expect(page.locator("h1 .state")).to_have_text("Cancelled", timeout=WAIT_MS)
        await page.goto(f"{url}/queues/supplier-sync")
        await page.get_by_role("button", name="Resume").click()
        await told(page, "goes on")
        well(visit, url)


async def test_an_open_page_goes_on_by_itself_when_the_api_is_there_again(
    browser: Browser, workers: Workers, tmp_path: Path
) -> None:
    port, env = free_port(), environment_of(workers.stack)
    async with visiting(browser) as visit:
        page = visit.page
        word = page.locator("[data-live-word]")
        async with api_process(tmp_path, env, port=port) as (url, _):
            await page.goto(f"{url}/queues")
            await expect(word).to_have_text("Live", timeout=WAIT_MS)
            await page.evaluate("window.sameDocument = true")
        await expect(word).to_have_text("Reconnecting", timeout=WAIT_MS)
        await by_hand.pause(workers.stack.services, "image-upload")
        async with api_process(tmp_path, env, port=port):
            await expect(word).to_have_text("Live", timeout=WAIT_MS)
            await expect(page.locator(".state.warn")).to_have_text("Paused", timeout=WAIT_MS)
            await by_hand.resume(workers.stack.services, "image-upload")
            await expect(page.locator(".state.warn")).to_have_count(0, timeout=WAIT_MS)
            assert await page.evaluate("window.sameDocument"), "nobody loaded it again"


async def test_each_role_signs_in_and_axe_finds_nothing_on_any_page(
    browser: Browser, workers: Workers, tmp_path: Path
) -> None:
    stack = workers.stack
    run = (await stack.run("A23"))["id"]
    product = await stack.value("SELECT max(sku) FROM products")
    await poison(workers, run)
    settings = Settings.model_validate({**stack.settings.model_dump(), "api_keys": KEYS})
    job = await stack.value("SELECT min(id) FROM jobs WHERE queue = 'image-upload'")
    paths = [
        "/", "/runs", f"/runs/{run}", "/queues", "/queues/image-upload", f"/queues/image-upload/jobs/{quote(job)}",
        "/catalogue", f"/catalogue/{product}", "/suppliers", "/suppliers/A23?schedule=30+3+*+*+*&timeZone=UTC",
        "/suppliers/A23/dry-run", "/workers", "/webhooks", "/audit",
    ]  # fmt: skip
    async with serve(settings) as url:
        async with api_at(url, SECRETS["admin"]) as api:
            hook = await api.post("/webhooks", {"url": "https://shop.example/hooks", "events": ["run.finished"]}, 201)
        paths.append(f"/webhooks/{hook['id']}")
        for role in SECRETS:
            async with visiting(browser) as visit:
                await sign_in(visit.page, url, role)
                offered = visit.page.get_by_role("button", name="Sync all active ones")
                await expect(offered).to_have_count(0 if role == "viewer" else 1)
                await expect(visit.page.locator("[data-live-word]")).to_have_text("Live")
                await visit.page.get_by_role("button", name="Sign out").click()
                await expect(visit.page.get_by_label("API key")).to_be_visible()
                well(visit, url)
        found: list[str] = []
        for scheme in ("light", "dark"):
            async with visiting(browser, color_scheme=scheme) as visit:
                await visit.page.goto(f"{url}/")
                found += await violations(visit.page, f"sign-in {scheme}")
                await sign_in(visit.page, url, "admin")
                for path in paths:
                    answer = await visit.page.goto(url + path)
                    assert answer is not None
                    assert answer.status == 200, path
                    found += await violations(visit.page, f"{path} {scheme}")
                    assert await visit.page.title() != "run", path
                well(visit, url)
        assert found == []


async def test_colours_of_the_system_take_away_no_mark(browser: Browser, workers: Workers, url: str) -> None:
    run = (await workers.stack.run("A23"))["id"]
    async with visiting(browser, forced_colors="active") as visit:
        for path, marks in (("/", 3), (f"/runs/{run}", 3), ("/queues?window=1h", 2)):
            await visit.page.goto(url + path)
            ground, found = await visit.page.evaluate(MARKS)
            assert len({name for name, *_ in found}) >= marks, path
            assert [name for name, colour, border in found if colour == ground and not border] == [], path


async def test_a_long_name_wraps_and_a_phone_shows_all_of_it(browser: Browser, workers: Workers, url: str) -> None:
    run = (await workers.stack.run("A23"))["id"]
    await call_it(workers, f"{'Werbeartikel und Geschenke aus aller Welt ' * 4}{'Donaudampfschiff' * 4}")
    async with visiting(browser, viewport={"width": 390, "height": 844}) as visit:
        for path in ("/", "/suppliers", "/suppliers/A23", "/suppliers/A23/dry-run", f"/runs/{run}", "/queues", "/runs"):
            await visit.page.goto(url + path)
            assert await visit.page.evaluate("document.documentElement.scrollWidth") == 390, path
        well(visit, url)
    async with visiting(browser) as visit:
        for path in ("/", "/suppliers"):
            await visit.page.goto(url + path)
            table = visit.page.locator(".scroll[aria-label=Suppliers]")
            assert await table.evaluate("node => node.scrollWidth - node.clientWidth") == 0, path


async def call_it(workers: Workers, name: str) -> None:
    await workers.stack.services.database.transact(
        lambda db: db.execute(text("UPDATE suppliers SET name = :name WHERE code = 'A23'"), {"name": name})
    )


async def counts_on(page: Page) -> dict[str, dict[str, int]]:
    """A run's counts as its page shows them, under the API's names."""
    rows = await page.locator("table.plain tr").evaluate_all(
        """rows => rows.map(row => [row.querySelector("th").textContent,
            Array.from(row.querySelectorAll(".pair"), pair => pair.textContent.trim().split(" "))])"""
    )
    return {COUNTED[name]: {of: int(number) for number, of in pairs} for name, pairs in rows}


async def poison(workers: Workers, run: Any) -> None:
    """What the feed may say, at its worst."""

    async def work(db: Any) -> None:
        await db.execute(
            text("""
            INSERT INTO problems (run_id, severity, stage, kind, url, sku, reason)
            VALUES (:run, 'error', 'family', :evil, 'javascript:document.title="run"', :evil, :evil)"""),
            {"run": run, "evil": EVIL},
        )
        await db.execute(text("UPDATE suppliers SET name = :evil WHERE code = 'A23'"), {"evil": EVIL})
        await db.execute(text("UPDATE runs SET error = :evil WHERE id = :run"), {"evil": EVIL, "run": run})

    await workers.stack.services.database.transact(work)


async def violations(page: Page, where: str) -> list[str]:
    # its import builds models for a second, in every process that only collects this file
    from axe_playwright_python.async_playwright import Axe  # noqa: PLC0415

    await page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = (await Axe().run(page, options=LEVELS)).response["violations"]
    return [
        f"{where}: {one['id']} {one['nodes'][0]['html'][:160]} {one['nodes'][0]['failureSummary']}" for one in found
    ]


def well(visit: Visit, url: str) -> None:
    """Nothing was written to the console, and nobody else was asked."""
    assert visit.wrong == []
    assert [address for address in visit.asked if not address.startswith((url, "data:"))] == []
