"""The promidata-sync command as a process of its own, as a shell would start it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.setting_errors import variables_of
from app.settings import Settings
from tests.support.stack import Stack

OURS = {
    variable for name, field in Settings.model_fields.items() for variable in (name.upper(), *variables_of(name, field))
}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**given: str) -> dict[str, str]:
    """Ours without any setting of the service, and with what is given."""
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    return {**kept, **given}


def environment_of(stack: Stack) -> dict[str, str]:
    """What a command needs to work on a test's stack."""
    settings = stack.settings
    assert settings.database_url is not None
    assert settings.redis_url is not None
    return environment(
        DATABASE_URL=settings.database_url.get_secret_value(),
        REDIS_URL=settings.redis_url.get_secret_value(),
        PROMIDATA_BASE_URL=settings.base_url,
        ALLOW_PRIVATE_ADDRESSES="127.0.0.0/8",
        DATA_DIR=str(settings.data_dir),
        RETRY_BACKOFF_S="0.05",
    )


async def start(folder: Path, env: Mapping[str, str], *arguments: str) -> asyncio.subprocess.Process:
    """Start the command in `folder`; its output is piped."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app.cli.main",
        *arguments,
        cwd=folder,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def command(folder: Path, env: Mapping[str, str], *arguments: str, timeout_s: float = 60) -> Ended:
    """Run the command to its end."""
    process = await start(folder, env, *arguments)
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())
