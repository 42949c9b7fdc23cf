"""In a real browser, behind a real reverse proxy: pages, Swagger UI and pictures work under a path prefix.

`make test-browser` runs this. The browser is Debian's chromium; no page may ask for anything outside of the prefix, and
nothing may break the pages' own Content-Security-Policy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser

from tests.browser.visits import Visit, visiting
from tests.support import command_line
from tests.support.prefix_proxy import PrefixProxy, prefix_proxy
from tests.support.stack import Servers, Stack, open_stack

pytestmark = pytest.mark.browser

PREFIX = "/shop/promi"
SHOW = """
async (address) => {
  const image = document.body.appendChild(new Image());
  image.src = address;
  await image.decode();
  return image.naturalWidth;
}
"""


@pytest.fixture(scope="module")
async def synced(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A catalogue with pictures in a local store."""
    async with open_stack(servers, tmp_path_factory.mktemp("stack")) as stack:
        await stack.sync("A23")
        yield stack


@asynccontextmanager
async def running_api(folder: Path, stack: Stack, **given: str) -> AsyncIterator[str]:
    """`promidata-sync api` as a process; gives its address on this machine."""
    env = command_line.environment_of(stack) | {"PORT": "0", "FORWARDED_ALLOW_IPS": "127.0.0.1", **given}
    process = await command_line.start(folder, env, "api")
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            line = (await process.stdout.readline()).decode()
        yield "http://{}".format(urlsplit(line.removeprefix("API: ").strip()).netloc)
    finally:
        process.terminate()
        await process.communicate()


@pytest.mark.parametrize("strips", [True, False], ids=["stripping", "not-stripping"])
@pytest.mark.parametrize("tells", [True, False], ids=["header", "ROOT_PATH"])
async def test_pages_and_pictures_work_under_a_prefix(
    browser: Browser, synced: Stack, tmp_path: Path, strips: bool, tells: bool
) -> None:
    given = {} if tells else {"ROOT_PATH": PREFIX}
    async with (
        running_api(tmp_path, synced, **given) as upstream,
        prefix_proxy(upstream, PREFIX, strips=strips, tells=tells) as proxy,
        visiting(browser) as visit,
    ):
        await read_home(visit, proxy, tmp_path)
        await try_an_operation(visit, proxy, tmp_path)
        await look_at_a_picture(visit, proxy)
        assert (visit.wrong, proxy.outside) == ([], [])
        assert len(visit.asked) > 8
        strays = [url for url in visit.asked if not url.startswith((proxy.url, "data:"))]
        assert strays == []


async def read_home(visit: Visit, proxy: PrefixProxy, shots: Path) -> None:
    """Every link of the page at `/` leads somewhere, the dashboard's own pages among them."""
    page = visit.page
    await page.goto(f"{proxy.url}/")
    await page.screenshot(path=shots / "home.png")
    assert await page.evaluate("getComputedStyle(document.body).marginTop") == "0px"  # the style sheet is there
    links = await page.locator("a:not(.skip)").evaluate_all("links => links.map(link => link.href)")
    assert {f"{proxy.url}{path}" for path in ("/runs", "/queues", "/catalogue", "/suppliers")} <= set(links)
    for link in set(links):
        assert link.startswith(f"{proxy.url}/")
        assert (await page.request.get(link)).ok, link
    await page.get_by_role("link", name="API documentation").click()
    await page.locator(".opblock").first.wait_for()


async def try_an_operation(visit: Visit, proxy: PrefixProxy, shots: Path) -> None:
    """Swagger UI is drawn, and "Try it out" asks under the prefix."""
    page = visit.page
    await page.goto(f"{proxy.url}/docs")
    operation = page.locator(".opblock", has=page.locator("[data-path='/api/v1/queues/stats']"))
    await operation.locator(".opblock-summary-control").click()
    await operation.get_by_role("button", name="Try it out").click()
    await operation.get_by_role("button", name="Execute").click()
    status = operation.locator(".live-responses-table tbody .response-col_status")
    await status.wait_for()
    await page.screenshot(path=shots / "docs.png", full_page=False)
    await operation.screenshot(path=shots / "operation.png")
    assert (await status.inner_text()).strip() == "200"
    assert f"{proxy.url}/api/v1/queues/stats" in visit.asked


async def look_at_a_picture(visit: Visit, proxy: PrefixProxy) -> None:
    """The address in the catalogue's answer shows a picture.

    In a page: where a picture or JSON is opened by itself, browsers ask the host for /favicon.ico on their own account.
    """
    answer = await visit.page.request.get(f"{proxy.url}/api/v1/products?limit=1")
    (product,) = (await answer.json())["items"]
    await visit.page.goto(f"{proxy.url}/")
    width = await visit.page.evaluate(SHOW, product["primaryImageUrl"])
    assert width > 0
    assert product["primaryImageUrl"] in visit.asked
