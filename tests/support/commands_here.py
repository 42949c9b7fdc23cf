"""The promidata-sync command within the tests' own process: what a process costs is spared where many are tried."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli.main import app
from app.cli.main import main as run
from tests.support.command_line import OURS

PROGRAM = typer.main.get_command(app)


def commands_of(group: Any = PROGRAM, before: str = "") -> set[str]:
    """All that can be typed, a group that does something by itself among them."""
    names: set[str] = set()
    for name, found in group.commands.items():
        is_group = hasattr(found, "commands")
        names |= commands_of(found, f"{before}{name} ") if is_group else {before + name}
        if is_group and found.invoke_without_command:
            names.add(before + name)
    return names


def command_of(typed: str) -> str:
    """The command that a line begins with."""
    return max((name for name in commands_of() if f"{typed} ".startswith(f"{name} ")), key=len)


def set_up(monkeypatch: pytest.MonkeyPatch, env: Mapping[str, str], folder: Path) -> None:
    """Have commands find this environment, started in this folder."""
    for name in OURS | {"COLUMNS"}:
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["promidata-sync"])
    monkeypatch.chdir(folder)


async def typed_here(*arguments: str) -> int:
    """Run the command; returns its exit code."""
    return await asyncio.to_thread(run, arguments)
