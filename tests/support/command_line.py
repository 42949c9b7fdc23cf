"""The promidata-sync command as a process of its own: from nothing, as a shell would start it, or forked."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.setting_errors import variables_of
from app.settings import Settings
from tests.support.forked import start_command
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


async def command(folder: Path, env: Mapping[str, str], *arguments: str, timeout_s: float = 120) -> Ended:
    """Run the command to its end, without the time that its imports take (forked.py)."""
    return await asyncio.to_thread(_run, folder, env, arguments, timeout_s)


def _run(folder: Path, env: Mapping[str, str], arguments: Sequence[str], timeout_s: float) -> Ended:
    with tempfile.TemporaryDirectory() as printed:
        out, err = Path(printed, "out"), Path(printed, "err")
        process = start_command(arguments, env, folder, out, err)
        process.join(timeout_s)
        late = process.is_alive()
        process.kill()
        process.join()
        assert not late, f"{arguments} did not end in {timeout_s:g} s: {err.read_text()[-2000:]}"
        assert process.exitcode is not None
        return Ended(process.exitcode, out.read_text(), err.read_text())
