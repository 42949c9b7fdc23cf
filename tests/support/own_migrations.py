"""A test's own migrations on top of the real ones, for `migrate` and for Alembic's command."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.config import Config

from app.persistence import migrations
from tests.support.command_line import Ended, environment

REPO = Path(__file__).resolve().parents[2]
SCRIPT = """
from alembic import op

revision, down_revision = "{revision}", "{before}"
{extra}


def upgrade() -> None:
{up}


def downgrade() -> None:
{down}
"""


class OwnMigrations:
    """Migrations that lie in `folder`; `ini` names them and the real ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "versions"
        self.folder.mkdir()
        self.ini = folder / "alembic.ini"
        where = f"{REPO / 'alembic' / 'versions'}{os.pathsep}{self.folder}"
        self.ini.write_text(
            f"[alembic]\nscript_location = {REPO / 'alembic'}\npath_separator = os\nversion_locations = {where}\n"
        )
        self._newest = migrations.newest_revision()

    def add(self, revision: str, up: str, down: str = "pass", extra: str = "") -> None:
        """Add one on top of those that there are; `up` and `down` are Python lines."""

        def lines(code: str) -> str:
            return "\n".join(f"    {line}" for line in code.splitlines())

        script = SCRIPT.format(revision=revision, before=self._newest, up=lines(up), down=lines(down), extra=extra)
        (self.folder / f"{revision}.py").write_text(script)
        self._newest = revision

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let `migrate` in this process see them."""
        monkeypatch.setattr(migrations, "alembic_config", lambda: Config(str(self.ini)))

    async def alembic(self, url: str, *arguments: str, seen: Callable[[], None] | None = None) -> Ended:
        """Run `alembic` on them as a command of its own."""
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "alembic"),
            "-c",
            str(self.ini),
            *arguments,
            cwd=self.folder,
            env=environment(DATABASE_URL=url, PYTHONPATH=str(REPO)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())
