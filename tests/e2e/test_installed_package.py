"""The wheel in a clean environment: from another folder, as another user, without the right to write where it lies."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from app.samplefeed import FeedSpec, SampleFeed
from tests.conftest import MakeStack
from tests.support.clean_environment import Installed, installed_wheel
from tests.support.command_line import environment, environment_of
from tests.support.databases import database_named, execute
from tests.support.plain_http import plain_client
from tests.support.stack import Servers

KINDS = ("supplier", "family", "image")
SERVING = "serving; Ctrl-C stops everything"


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    with installed_wheel() as wheel:
        yield wheel


@asynccontextmanager
async def running(installed: Installed, env: dict[str, str], *command: str) -> AsyncIterator[asyncio.StreamReader]:
    """A command of it until the block ends, then SIGTERM; gives what it writes to its standard output."""
    process = await installed.start(env, *command)
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        if process.returncode is None:
            process.terminate()
        _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode in {0, -signal.SIGTERM}, said.decode()


async def test_what_is_installed_is_the_wheel_and_cannot_be_written(installed: Installed) -> None:
    look = (
        "import os, app, workers, alembic, app.persistence.migrations as m;"
        "print(app.__file__, m.PACKAGED, alembic.__version__);"
        "print(*[os.access(p, os.W_OK) for p in (os.path.dirname(app.__file__), m.PACKAGED, m.PACKAGED / 'versions')])"
    )
    said = await installed.do(environment(), "python", "-c", look)
    assert said.code == 0, said
    where, writable = said.out.splitlines()
    assert where.startswith(str(installed.home)), said
    assert writable == "False False False" or installed.uid is None, said
    version = await installed.do(environment(), "promidata-sync", "--version")
    assert version.out.startswith("promidata-sync "), version


async def test_up_syncs_a_small_feed_whole_when_asked_and_the_other_commands_find_it(installed: Installed) -> None:
    """On servers of its own; the sample feed whole, and what else `up` does, is tests/e2e/test_up.py's."""
    small = ("--suppliers", "2", "--families", "3", "--variants", "2", "--small")
    env = environment(ALLOW_PRIVATE_ADDRESSES="127.0.0.0/8", WORKERS_IMAGES="1")
    async with running(installed, env, "promidata-sync", "feed", "serve", *small) as feed:
        env["PROMIDATA_BASE_URL"] = (await feed.readline()).decode().strip()
        up = await installed.start(env, "promidata-sync", "up", "--port", "0", "--sync-all")
        assert up.stdout is not None
        lines: list[str] = []
        async with asyncio.timeout(240):
            async for line in up.stdout:
                lines.append(line.decode())
                if SERVING in lines[-1]:
                    break
        for said in ("A23: completed", "A360: completed", "synced 2 suppliers"):
            assert any(said in line for line in lines), lines
        for command in (["runs"], ["media", "verify"], ["feed", "check"]):
            await succeeds(installed, env, *command)
        up.send_signal(signal.SIGINT)
        _, said_of_it = await asyncio.wait_for(up.communicate(), 60)
        assert up.returncode == 0, said_of_it.decode()


async def test_by_hand_it_migrates_serves_syncs_and_is_well_on_both_kinds_of_workers(
    installed: Installed, servers: Servers, make_stack: MakeStack
) -> None:
    feed = SampleFeed(FeedSpec.small(count=2, families=2, variants=2))
    await execute(servers.postgres.url, "CREATE DATABASE for_the_wheel")
    async with make_stack(feed) as stack:
        env = environment_of(stack) | {
            "DATABASE_URL": database_named(servers.postgres.url, "for_the_wheel"),
            "DATA_DIR": ".data-by-hand",
            "PORT": "0",
        }
        migrated = await installed.do(env, "promidata-sync", "migrate")
        assert migrated.code == 0, migrated
        assert migrated.out.startswith("the schema is at revision "), migrated
        async with AsyncExitStack() as processes:
            api = await processes.enter_async_context(running(installed, env, "promidata-sync", "api"))
            for kind in KINDS:
                await processes.enter_async_context(running(installed, env, "promidata-sync", "worker", kind))
            address = (await api.readline()).decode().removeprefix("API: ").strip()
            async with plain_client(base_url=address) as http:
                assert [(await http.get(path)).status_code for path in ("/healthz", "/docs", "/")] == [200, 200, 200]
            await succeeds(installed, env, "suppliers", "--discover")
            await succeeds(installed, env, "sync", "--watch")
            await succeeds(installed, env, "doctor")
        async with AsyncExitStack() as processes:
            for kind in KINDS:
                await processes.enter_async_context(running(installed, env, "arq", f"workers.{kind}.WorkerSettings"))
            await succeeds(installed, env, "sync", "--force", "--watch")


async def succeeds(installed: Installed, env: dict[str, str], *command: str) -> None:
    said = await installed.do(env, "promidata-sync", *command)
    assert said.code == 0, said
