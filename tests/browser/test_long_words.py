"""A supplier's code of 96 letters and a product of words without an end break no page, on a desk or on a telephone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser
from sqlalchemy import text

from app.persistence.suppliers import add_suppliers
from tests.browser.visits import visiting
from tests.support.api_client import serve
from tests.support.ledger_rows import add_run
from tests.support.stack import Servers, Stack, open_stack

pytestmark = pytest.mark.browser

CODE = "LONGCODE" * 12
WORDS = """
UPDATE products SET content = content || jsonb_build_object(
    'name', jsonb_build_object('de', repeat('Donaudampfschiff', 20)), 'brand', repeat('Marke', 40),
    'category', repeat('Werbeartikel', 20))
"""
STICKING_OUT = """
() => [...document.querySelectorAll(".card, .filters")]
  .flatMap((card) => [...card.querySelectorAll("h2, h3, a, p, dd, input")]
  .filter((node) => !node.closest(".scroll") && node.getClientRects().length)
  .filter((node) => node.getBoundingClientRect().right > card.getBoundingClientRect().right)
  .map((node) => node.textContent.slice(0, 40) || node.name))
"""


@pytest.fixture(scope="module")
async def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A catalogue beside a supplier that is synced and syncing."""
    async with open_stack(servers, tmp_path_factory.mktemp("stack")) as opened:
        await opened.sync("A23")
        await opened.services.database.transact(lambda db: db.execute(text(WORDS)))
        await opened.services.database.transact(lambda db: add_suppliers(db, [CODE]))
        for status in ("completed", "queued"):
            await add_run(opened, CODE, status=status)
        yield opened


@pytest.mark.parametrize("width", [1280, 390, 320])
async def test_no_page_is_wider_than_the_window_and_nothing_lies_over_its_neighbour(
    browser: Browser, stack: Stack, width: int
) -> None:
    sku = await stack.value("SELECT min(sku) FROM products")
    run = (await stack.run(CODE))["id"]
    async with serve(stack.settings) as url, visiting(browser, viewport={"width": width, "height": 844}) as visit:
        for path in (
            "/", "/runs", f"/runs/{run}", "/suppliers", f"/suppliers/{CODE}", f"/suppliers/{CODE}/dry-run",
            "/queues/supplier-sync", f"/catalogue/{sku}", "/catalogue", "/audit",
        ):  # fmt: skip
            await visit.page.goto(url + path)
            assert await visit.page.evaluate("document.documentElement.scrollWidth") == width, path
            assert await visit.page.evaluate(STICKING_OUT) == [], path
            if width == 1280:
                tables = visit.page.locator(".scroll[aria-label=Runs], .scroll[aria-label=Suppliers]")
                hidden = await tables.evaluate_all("nodes => nodes.map((node) => node.scrollWidth - node.clientWidth)")
                assert set(hidden) <= {0}, path
        assert visit.wrong == []
