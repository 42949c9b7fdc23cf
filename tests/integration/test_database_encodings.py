"""A database whose encoding has no room for every character: named before a family is lost in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.cli.doctor import examine
from app.persistence.migrations import migrate
from app.sync.operating.doctor import Finding
from tests.support.api_client import api_client
from tests.support.command_line import command, environment_of
from tests.support.databases import execute
from tests.support.stack import Servers, Stack, open_stack

SAYS = "its encoding is LATIN1, which has no room for every character of the feed: create one in UTF8 (createdb -E UTF8"


@asynccontextmanager
async def in_encoding(servers: Servers, folder: Path, encoding: str) -> AsyncIterator[Stack]:
    """A stack on an empty database in `encoding`."""
    template = f"in_{encoding.lower()}"
    made = f"CREATE DATABASE {template} TEMPLATE template0 LOCALE_PROVIDER libc LOCALE 'C' ENCODING '{encoding}'"
    await execute(servers.postgres.url, made)
    async with open_stack(servers, folder, template=template) as stack:
        yield stack
    await execute(servers.postgres.url, f"DROP DATABASE {template}")


@pytest.fixture
async def latin1(servers: Servers, tmp_path: Path) -> AsyncIterator[Stack]:
    async with in_encoding(servers, tmp_path, "LATIN1") as stack:
        yield stack


async def found_by(stack: Stack) -> dict[str, Finding]:
    return {finding.part: finding for finding in await examine(stack.settings)}


@pytest.mark.parametrize("line", [["migrate"], ["worker", "family"]])
async def test_a_command_that_needs_room_for_each_character_ends_with_what_to_do(
    latin1: Stack, tmp_path: Path, line: list[str]
) -> None:
    ended = await command(tmp_path, environment_of(latin1), *line)
    assert ended.code == 1, ended
    assert SAYS in " ".join(ended.err.split())
    assert "Traceback" not in ended.err
    assert await latin1.value("SELECT to_regclass('alembic_version')") is None


async def test_the_api_is_not_ready_and_says_why(latin1: Stack) -> None:
    async with api_client(latin1.settings) as api:
        problem = await api.problem("GET", "//readyz", 503)
    assert SAYS in problem["detail"]


async def test_doctor_names_it(latin1: Stack) -> None:
    schema = (await found_by(latin1))["schema"]
    assert not schema.ok
    assert SAYS in schema.found
    assert schema.do == "", "it says so itself"


async def test_one_that_checks_nothing_works_and_doctor_has_a_word_on_it(servers: Servers, tmp_path: Path) -> None:
    async with in_encoding(servers, tmp_path, "SQL_ASCII") as stack:
        await migrate(stack.services.database)
        found = await found_by(stack)
    assert found["database"].ok
    assert found["database"].found.endswith("writable, in SQL_ASCII")
    assert "createdb -E UTF8 -T template0" in found["database"].do
    assert found["schema"].ok
