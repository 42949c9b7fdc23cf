"""The manifest as stored, once a profile: its validators, its body for a 304, and the entries of the last good one."""

from __future__ import annotations

import hashlib

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class StoredManifest(msgspec.Struct, frozen=True):
    """The last manifest of a profile."""

    sha256: str
    body: bytes
    """zstd."""
    etag: str | None
    last_modified: str | None
    applied_entries: int | None


def profile_key(base_url: str) -> bytes:
    """A profile's key. The base address is a credential, so only its hash is stored."""
    return hashlib.sha256(base_url.encode()).digest()


async def stored_manifest(db: AsyncConnection, profile: bytes) -> StoredManifest | None:
    """The last manifest of a profile, if there was one."""
    rows = await db.execute(
        text("""
        SELECT sha256, body, etag, last_modified, applied_entries FROM manifests WHERE profile = :profile"""),
        {"profile": profile},
    )
    row = rows.mappings().one_or_none()
    return None if row is None else StoredManifest(**row)


async def store_manifest(
    db: AsyncConnection,
    profile: bytes,
    *,
    sha256: str,
    body: bytes,
    etag: str | None,
    last_modified: str | None,
    entries: int,
) -> None:
    """Keep a manifest in place of the last one."""
    await db.execute(
        text("""
        INSERT INTO manifests (profile, sha256, body, etag, last_modified, entries)
        VALUES (:profile, :sha256, :body, :etag, :last_modified, :entries)
        ON CONFLICT (profile) DO UPDATE SET sha256 = EXCLUDED.sha256, body = EXCLUDED.body, etag = EXCLUDED.etag,
            last_modified = EXCLUDED.last_modified, entries = EXCLUDED.entries, fetched_at = clock_timestamp()"""),
        {
            "profile": profile,
            "sha256": sha256,
            "body": body,
            "etag": etag,
            "last_modified": last_modified,
            "entries": entries,
        },
    )


async def note_manifest_applied(db: AsyncConnection, profile: bytes, sha256: str, entries: int) -> None:
    """Note that no guard held this manifest back; later ones are measured against it."""
    await db.execute(
        text("""
        UPDATE manifests SET applied_entries = :entries
        WHERE profile = :profile AND sha256 = :sha256 AND applied_entries IS DISTINCT FROM :entries"""),
        {"profile": profile, "sha256": sha256, "entries": entries},
    )
