"""Pictures of every page, light and dark, on a desk and on a telephone, into docs/dashboard/.

    promidata-sync up --port 8000 &  python scripts/screenshots.py http://127.0.0.1:8000

Of a service without keys that has synced something. The browser is Debian's chromium; the pictures have few colours, so
that they stay small.
"""

from __future__ import annotations

import asyncio
import io
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.async_api import Browser, async_playwright

FOLDER = Path(__file__).parents[1] / "docs" / "dashboard"
SIZES = {"desktop": (1200, 800), "phone": (390, 780)}
COLOURS = 48


async def main(url: str) -> None:
    """Take them all."""
    FOLDER.mkdir(exist_ok=True)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        pages = await addresses(browser, url)
        for scheme in ("light", "dark"):
            for size in SIZES:
                await shoot(browser, url, pages, scheme, size)
        await browser.close()


async def addresses(browser: Browser, url: str) -> dict[str, str]:
    """Every page by its name, with things that are there to look at."""
    context = await browser.new_context()

    async def first(path: str) -> dict[str, Any]:
        items = (await (await context.request.get(f"{url}/api/v1{path}")).json())["items"]
        found: dict[str, Any] = items[0]
        return found

    run, product = await first("/runs?limit=1"), await first("/products?limit=1&status=active")
    job = await first("/queues/image-upload/jobs?limit=1")
    await context.close()
    supplier = run["supplier"]
    return {
        "overview": "/",
        "runs": "/runs",
        "run": f"/runs/{run['id']}",
        "queues": "/queues",
        "queue": "/queues/image-upload",
        "job": f"/queues/image-upload/jobs/{job['jobId']}",
        "catalogue": "/catalogue",
        "product": f"/catalogue/{product['sku']}?supplier={product['supplier']}",
        "suppliers": "/suppliers",
        "supplier": f"/suppliers/{supplier}?schedule=30+3+*+*+*&timeZone=Europe/Amsterdam",
        "dry-run": f"/suppliers/{supplier}/dry-run",
        "webhooks": "/webhooks",
        "workers": "/workers",
        "audit": "/audit",
    }


async def shoot(browser: Browser, url: str, pages: dict[str, str], scheme: Any, size: str) -> None:
    """All pages in one theme and size, as much as a window shows."""
    width, height = SIZES[size]
    context = await browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = await context.new_page()
    for name, path in pages.items():
        await page.goto(url + path)
        await page.wait_for_timeout(400)
        picture = Image.open(io.BytesIO(await page.screenshot()))
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        few.save(FOLDER / f"{name}-{scheme}-{size}.png", optimize=True)
    await context.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1].rstrip("/")))
