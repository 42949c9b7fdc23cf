"""What a supplier job notes of its run: the manifest, the guard, its own failure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.documents import ManifestDiff
from app.persistence.ledger import to_json
from app.persistence.statements import text


async def set_manifest(
    db: AsyncConnection, run_id: str, sha256: str, diff: ManifestDiff, *, invalid: int, to_fetch: int
) -> None:
    """Write what the manifest said of the supplier.

    A supplier job that is run again meets a catalogue that its first half has changed already, so for the same manifest
    the counts stay as they were. What failed in this run is not asked for again in it.
    """
    await db.execute(
        text("""
        UPDATE runs SET manifest_sha256 = :sha256, manifest_entries = :entries, manifest_new = :new,
            manifest_changed = :changed, manifest_unchanged = :unchanged, manifest_removed = :removed,
            manifest_invalid = :invalid
        WHERE id = CAST(:id AS uuid) AND manifest_sha256 IS DISTINCT FROM :sha256"""),
        {
            "id": run_id,
            "sha256": sha256,
            "entries": diff.entries,
            "new": diff.new,
            "changed": diff.changed,
            "unchanged": diff.unchanged,
            "removed": diff.removed,
            "invalid": invalid,
        },
    )
    await db.execute(
        text("""
        UPDATE runs SET documents_wanted = documents_fetched + documents_failed + :to_fetch
        WHERE id = CAST(:id AS uuid)"""),
        {"id": run_id, "to_fetch": to_fetch},
    )


async def families_so_far(db: AsyncConnection, run_id: str) -> int:
    """How many family jobs the run has made."""
    return int(
        await db.scalar(text("SELECT families_total FROM runs WHERE id = CAST(:id AS uuid)"), {"id": run_id}) or 0
    )


class DocumentsSoFar(msgspec.Struct, frozen=True):
    """What a run knows of its documents."""

    wanted: int
    """It is to ask for so many."""
    failed: int
    """So many of them could not be had."""
    missing: int
    """So many that were there are not in its manifest."""


async def documents_so_far(db: AsyncConnection, run_id: str) -> DocumentsSoFar:
    """How many documents the run asks for, could not have, and misses."""
    rows = await db.execute(
        text("""
        SELECT documents_wanted, documents_failed, manifest_removed FROM runs WHERE id = CAST(:id AS uuid)"""),
        {"id": run_id},
    )
    return DocumentsSoFar(*rows.one())


async def set_guard(db: AsyncConnection, run_id: str, guard: Mapping[str, Any], error: str) -> None:
    """Note that nothing was removed, and why."""
    await db.execute(
        text("UPDATE runs SET guard = CAST(:guard AS jsonb), error = :error WHERE id = CAST(:id AS uuid)"),
        {"id": run_id, "guard": to_json(dict(guard)), "error": error},
    )


async def set_fatal(db: AsyncConnection, run_id: str, error: str) -> None:
    """Note that the supplier job itself failed, which fails the run."""
    await db.execute(
        text("UPDATE runs SET fatal = true, error = :error WHERE id = CAST(:id AS uuid)"),
        {"id": run_id, "error": error},
    )
