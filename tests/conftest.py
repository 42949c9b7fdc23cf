"""Fixtures of all tests: the session's real servers, and a stack a test."""

from __future__ import annotations

import gc
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.support import boto_descriptions
from tests.support.picture_origin import PictureOrigin, picture_origin
from tests.support.quick_folder import quick_folder
from tests.support.stack import Servers, Stack, open_stack, running_servers

GARBAGE_AFTER = 10_000
"""How many objects more there are when garbage is looked for; Python's own figure is 700."""
MakeStack = Callable[..., AbstractAsyncContextManager[Stack]]

LONGEST_FIRST = (
    "test_installed_package",
    "test_bounds_feed",
    "test_webhooks",
    "test_catalogue_validators",
    "test_odd_lines",
    "test_api_ingress",
    "test_cli_bad_input",
    "test_feed_corners",
    "test_migrations_wait",
    "test_api_hang_ups",
    "test_redis_shared",
    "test_few_connections",
    "test_store_faults",
    "test_embedded_processes",
    "test_cli_doctor",
    "test_api_sync",
    "test_api_jobs",
    "test_feed_cases",
    "test_pictures_store_faults",
    "test_transaction_pooler",
    "test_worker_probe",
)
"""Files that take longest, as measured: begun last, one of them would keep a single process busy at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first; the order within a file stays."""
    order = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def pytest_configure() -> None:
    """Let Ctrl-C reach what the tests start: a shell that runs them in the background ignores it for all of them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.disable()


def pytest_collection_finish() -> None:
    """Modules and collected tests are never garbage: looking them through was a tenth of what the suite costs.

    Without them nearly nothing is old, so that Python's own threshold has it look through all the rest again and again.
    """
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER)
    gc.enable()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """PostgreSQL and Valkey, started once."""
    with quick_folder(tmp_path_factory.mktemp("servers")) as folder, running_servers(folder) as running:
        yield running


@pytest.fixture(scope="session", autouse=True)
def _plain_tracebacks() -> None:
    """Unless it is told otherwise, structlog draws each frame of an error with its variables, a tenth of a second."""
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])


@pytest.fixture(scope="session", autouse=True)
def _descriptions_read_once() -> Iterator[None]:
    with boto_descriptions.read_once():
        yield


@pytest.fixture
def make_stack(servers: Servers, tmp_path: Path) -> MakeStack:
    """Opens a stack on a feed and settings of the test's own."""

    def make(feed: Any = None, **settings: Any) -> AbstractAsyncContextManager[Stack]:
        return open_stack(servers, tmp_path, feed, **settings)

    return make


@pytest.fixture
async def stack(make_stack: MakeStack) -> AsyncIterator[Stack]:
    """A stack on a small feed of two suppliers."""
    async with make_stack() as opened:
        yield opened


@pytest.fixture
async def origin() -> AsyncIterator[PictureOrigin]:
    """A host of pictures, each of which a test puts there."""
    async with picture_origin() as opened:
        yield opened
