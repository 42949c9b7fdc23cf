"""The wheel in a clean environment: from another folder, as another user, without the right to write where it lies."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

from tests.support.clean_environment import Installed, installed_wheel
from tests.support.command_line import environment

SERVING = "serving; Ctrl-C stops everything"


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    with installed_wheel() as wheel:
        yield wheel


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


async def test_up_syncs_the_sample_feed_and_the_other_commands_find_it(installed: Installed) -> None:
    env = environment()
    up = await installed.start(env, "promidata-sync", "up", "--port", "0")
    assert up.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(120):
        async for line in up.stdout:
            lines.append(line.decode())
            if SERVING in lines[-1]:
                break
    assert any("synced 3 suppliers" in line for line in lines), lines
    for command in (
        ["migrate"],
        ["doctor"],
        ["runs"],
        ["media", "verify"],
        ["feed", "check"],
        ["sync", "A23", "--watch"],
    ):
        said = await installed.do(env, "promidata-sync", *command)
        assert said.code == 0, said
    up.send_signal(signal.SIGINT)
    _, said_of_it = await asyncio.wait_for(up.communicate(), 30)
    assert up.returncode == 0, said_of_it.decode()
