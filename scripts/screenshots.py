"""Pictures of every page, light and dark, on a desk and on a telephone, into docs/dashboard/.

    `up` with an empty catalogue ─▶ the welcome ─▶ a sync of the sample feed, a webhook ─▶ every page
                                 └▶ once more, with keys ─▶ the sign-in

`python scripts/screenshots.py` does all of it, in a minute. The browser is Debian's chromium; the pictures have few
colours, so that they stay small.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import os
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.async_api import Browser, async_playwright

FOLDER = Path(__file__).parents[1] / "docs" / "dashboard"
SIZES = {"desktop": (1200, 800), "phone": (390, 780)}
COLOURS = 48
WITHIN_S = 180
KEYS = "desk:admin:0123456789abcdef0123"


async def main() -> None:
    """Take them all."""
    FOLDER.mkdir(exist_ok=True)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        with tempfile.TemporaryDirectory(prefix="promidata-screenshots-") as folder:
            async with serving(folder, {"DEMO": "false"}) as url:
                await shoot(browser, url, {"welcome": "/"})
                async with httpx.AsyncClient(base_url=f"{url}/api/v1", timeout=WITHIN_S) as api:
                    pages = await filled(api)
                await shoot(browser, url, pages)
            async with serving(folder, {"DEMO": "false", "API_KEYS": KEYS}) as url:
                await shoot(browser, url, {"sign-in": "/sign-in"})
        await browser.close()


@asynccontextmanager
async def serving(folder: str, settings: Mapping[str, str]) -> AsyncIterator[str]:
    """The whole service on its embedded servers; gives its address."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("promidata-sync"),
        "up",
        "--port=0",
        env={**os.environ, "DATA_DIR": folder, "NO_COLOR": "1", **settings},
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(WITHIN_S):
            said, address = "", None
            while address is None:
                line = (await process.stdout.readline()).decode()
                if not line:
                    raise RuntimeError(f"it ended before it was ready:\n{said}")
                said += line
                address = re.search(r"^ +dashboard +(http://.+)/$", said, re.MULTILINE)
        reading = asyncio.create_task(process.stdout.read())
        yield address[1]
    finally:
        process.terminate()
        await process.wait()
    await reading


async def filled(api: httpx.AsyncClient) -> dict[str, str]:
    """Sync, follow it with a webhook, and give every page by its name, with things that are there to look at."""
    await told(api.post("/suppliers/discover"))
    webhook = await told(api.post("/webhooks", json={"url": "https://shop.example/hooks", "events": ["run.finished"]}))
    job = (await told(api.post("/sync", json={})))["jobs"][0]
    await until_ended(api)
    supplier = (await told(api.get(f"/runs/{job['runId']}")))["supplier"]
    product = (await told(api.get(f"/products?limit=1&status=active&supplier={supplier}")))["items"][0]
    picture = (await told(api.get("/queues/image-upload/jobs?limit=1")))["items"][0]
    return {
        "overview": "/",
        "runs": "/runs",
        "run": f"/runs/{job['runId']}",
        "queues": "/queues",
        "queue": "/queues/image-upload",
        "job": f"/queues/image-upload/jobs/{picture['jobId']}",
        "catalogue": "/catalogue",
        "product": f"/catalogue/{product['sku']}?supplier={supplier}",
        "suppliers": "/suppliers",
        "supplier": f"/suppliers/{supplier}?schedule=30+3+*+*+*&timeZone=Europe/Amsterdam",
        "dry-run": f"/suppliers/{supplier}/dry-run",
        "webhooks": "/webhooks",
        "webhook": f"/webhooks/{webhook['id']}",
        "workers": "/workers",
        "audit": "/audit",
    }


async def told(answering: Any) -> Any:
    """The JSON of an answer that is none of an error."""
    answer = await answering
    answer.raise_for_status()
    return answer.json()


async def until_ended(api: httpx.AsyncClient) -> None:
    """Wait until no run is under way."""
    async with asyncio.timeout(WITHIN_S):
        for pause_s in itertools.repeat(0.5):
            if all(run["finishedAt"] for run in (await told(api.get("/runs")))["items"]):
                return
            await asyncio.sleep(pause_s)


async def shoot(browser: Browser, url: str, pages: Mapping[str, str]) -> None:
    """Pages in each theme and size, as much as a window shows."""
    for scheme in ("light", "dark"):
        for size, (width, height) in SIZES.items():
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
    asyncio.run(main())
