"""The browser that each of these files opens once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from tests.browser.visits import open_browser


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Debian's chromium."""
    async with open_browser() as opened:
        yield opened
