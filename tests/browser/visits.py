"""A browser, and visits to pages that note what was asked for and what went wrong."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

from tests.support.dashboard_visits import SECRETS

QUIET = (
    "--no-sandbox",  # in a container there is no other user to be
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy ${event.effectiveDirective} ${event.blockedURI}`));
"""


@dataclass
class Visit:
    """A page, what it asked for, and what went wrong in it."""

    page: Page
    asked: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Note everything from now on."""
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("requestfailed", self._note_failure)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", self._hear)

    def _note_failure(self, request: Request) -> None:
        """A page that is left has no time for its icon, its events, its pictures or what it was about to draw anew."""
        left = request.failure == "net::ERR_ABORTED"
        by_itself = request.url.partition("?")[0].endswith(("/favicon.png", "/icon.svg", "/api/v1/events"))
        if not (left and (by_itself or request.resource_type in {"fetch", "image"})):
            self.wrong.append(f"{request.url}: {request.failure}")

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.wrong.append(f"{message.text} {message.location}")


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Debian's chromium."""
    path = shutil.which("chromium")
    assert path is not None, "chromium is needed: apt-get install chromium"
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield opened
        await opened.close()


@asynccontextmanager
async def visiting(browser: Browser, **options: Any) -> AsyncIterator[Visit]:
    context = await browser.new_context(**{"viewport": {"width": 1100, "height": 900}, **options})
    await context.add_init_script(TELL_VIOLATIONS)
    visit = Visit(await context.new_page())
    visit.listen()
    try:
        yield visit
    finally:
        await context.close()


async def sign_in(page: Page, url: str, role: str) -> None:
    """With the key of a role, on the overview."""
    await page.goto(f"{url}/")
    await page.get_by_label("API key").fill(SECRETS[role])
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
