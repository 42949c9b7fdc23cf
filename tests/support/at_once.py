"""Several long scenarios at the same time: most of their time is waiting. Each has servers' parts of its own."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.support.stack import Servers

Scenario = Callable[[Servers, Path], Awaitable[None]]
MOST_AT_ONCE = 5


async def assert_all(
    servers: Servers, folder: Path, scenarios: Mapping[str, Scenario], most: int = MOST_AT_ONCE
) -> None:
    """Run the scenarios, `most` at a time, each with a folder and a Redis database of its own; none may fail."""
    numbers: asyncio.Queue[int] = asyncio.Queue()
    for number in range(1, most + 1):
        numbers.put_nowait(number)
    failures: dict[str, str] = {}

    async def one(name: str) -> None:
        number = await numbers.get()
        try:
            mine = folder / name.replace(":", "-").replace(" ", "-")
            mine.mkdir()
            await scenarios[name](on_redis_database(servers, number), mine)
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  all of them are shown in the end
            where = traceback.extract_tb(error.__traceback__)[-2:]
            failures[name] = f"{type(error).__name__}: {error} at {[f'{at.name}:{at.lineno}' for at in where]}"
        finally:
            numbers.put_nowait(number)

    async with asyncio.TaskGroup() as group:
        for name in scenarios:
            group.create_task(one(name))
    assert not failures, "\n".join(f"{name}: {what}" for name, what in failures.items())


def on_redis_database(servers: Servers, number: int) -> Servers:
    """The same servers, and another database of Redis."""
    url = urlunsplit(urlsplit(servers.valkey.url)._replace(path=f"/{number}"))
    return replace(servers, valkey=replace(servers.valkey, url=url))
