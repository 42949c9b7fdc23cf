"""Requests that Schemathesis makes up from openapi.json, by the keys of each role: only answers that are documented.

No 5xx but for what is away, no status, content type or body that the description does not have, also over several calls
(the stateful phase follows what answers name). `make fuzz` goes on for longer: FUZZ_S seconds a role.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.api_process import api_process
from tests.support.command_line import environment_of
from tests.support.stack import Servers, Stack, open_stack

DESCRIPTION = Path(__file__).parents[2] / "openapi.json"
ROLES = ("viewer", "operator", "admin")
FUZZ_S = int(os.environ.get("FUZZ_S", "0"))
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
ENDLESS = "streamEvents"
BOUNDED = ("--phases", "examples,fuzzing,stateful", "--max-examples", "1", "--seed", "1", "--no-shrink")
LINE_CHARS = 400


@pytest.fixture(scope="module")
async def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with open_stack(servers, tmp_path_factory.mktemp("stack")) as opened:
        await opened.sync("A23")
        yield opened


@pytest.fixture(scope="module")
async def url(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    keys = ",".join(f"{role}:{role}:{role}-secret-of-16-chars" for role in ROLES)
    environment = environment_of(stack) | {"API_KEYS": keys}
    async with api_process(tmp_path_factory.mktemp("api"), environment) as (address, _):
        yield address


async def _fuzzed(url: str, folder: Path, role: str) -> tuple[int | None, str]:
    how_long = ("--max-time", str(FUZZ_S)) if FUZZ_S else BOUNDED
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("st")), "run", str(DESCRIPTION), "--url", url,
        "-H", f"X-API-Key: {role}-secret-of-16-chars", "--checks", CHECKS, "--exclude-operation-id", ENDLESS,
        "--mode", "all", "--no-color", "--warnings", "off", "--request-timeout", "30", "--suppress-health-check", "all",
        "--continue-on-failure", *how_long,
        cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    return process.returncode, "\n".join(line[:LINE_CHARS] for line in out.decode().splitlines())


async def test_every_answer_is_one_that_is_documented(url: str, tmp_path: Path) -> None:
    ended = await asyncio.gather(*(_fuzzed(url, tmp_path, role) for role in ROLES))
    for role, (code, said) in zip(ROLES, ended, strict=True):
        assert code == 0, f"with the key of a {role}:\n{said}"
