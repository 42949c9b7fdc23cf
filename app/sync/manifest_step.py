"""The manifest, asked for once a run: a 304 means "use the stored one", never "done".

stored validators ─▶ conditional GET ─▶ 304: the stored body │ 200: store it ─▶ read ─▶ Manifest
"""

from __future__ import annotations

import asyncio
import hashlib
from urllib.parse import urlsplit

import msgspec
import zstandard
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import ManifestUnreadable
from app.feed.manifest import ManifestData, read_manifest
from app.outbound.client import Fetched, FetchLimits
from app.persistence import manifests
from app.persistence.manifests import StoredManifest
from app.settings import Settings
from app.sync.services import Services

ZSTD_LEVEL = 3


class Manifest(msgspec.Struct, frozen=True):
    """A profile's manifest as it stands now."""

    profile: bytes
    sha256: str
    data: ManifestData
    applied_entries: int | None


def document_hosts(settings: Settings) -> frozenset[str]:
    """The hosts that documents may lie on: the base's, on any port, and those that are listed."""
    return frozenset({urlsplit(settings.base_url).hostname or "", *(host.lower() for host in settings.document_hosts)})


def manifest_limits(settings: Settings) -> FetchLimits:
    """What the manifest, or the category file, may cost."""
    return FetchLimits(
        max_bytes=settings.manifest_max_bytes,
        connect_timeout_s=settings.connect_timeout_s,
        first_byte_timeout_s=settings.first_byte_timeout_s,
        total_timeout_s=settings.document_timeout_s,
    )


async def get_manifest(services: Services, *, keep: bool = True) -> Manifest:
    """Ask for the manifest and read it.

    Args:
        services: the process's parts.
        keep: store what arrived; a dry run and a connection test do not.

    Raises:
        OriginUnavailable: transient.
        ManifestUnreadable: it is empty, not text, or names nothing; or it is gone.
    """
    settings = services.settings
    profile = manifests.profile_key(settings.base_url)
    async with services.database.read() as db:
        stored = await manifests.stored_manifest(db, profile)
    fetched = await _ask(services, stored)
    if fetched.not_modified and stored is not None:
        body, sha256 = await asyncio.to_thread(_unpack, stored.body), stored.sha256
    else:
        body, sha256 = fetched.body, hashlib.sha256(fetched.body).hexdigest()
    data = await asyncio.to_thread(
        read_manifest, body, base_url=settings.base_url, allowed_hosts=tuple(document_hosts(settings))
    )
    if keep and not fetched.not_modified:
        await _store(services, profile, sha256, fetched, data)
    return Manifest(profile, sha256, data, None if stored is None else stored.applied_entries)


async def _ask(services: Services, stored: StoredManifest | None) -> Fetched:
    headers = {}
    if stored is not None and stored.etag:
        headers["If-None-Match"] = stored.etag
    if stored is not None and stored.last_modified:
        headers["If-Modified-Since"] = stored.last_modified
    settings = services.settings
    return await services.outbound.get(
        f"{settings.base_url}/Import/Import.txt",
        limits=manifest_limits(settings),
        allowed_hosts=document_hosts(settings),
        headers=headers,
    )


async def _store(services: Services, profile: bytes, sha256: str, fetched: Fetched, data: ManifestData) -> None:
    packed = await asyncio.to_thread(zstandard.compress, fetched.body, ZSTD_LEVEL)

    async def work(db: AsyncConnection) -> None:
        await manifests.store_manifest(
            db,
            profile,
            sha256=sha256,
            body=packed,
            etag=fetched.etag,
            last_modified=fetched.last_modified,
            entries=data.total,
        )

    await services.database.transact(work)


def _unpack(body: bytes) -> bytes:
    try:
        return zstandard.decompress(body)
    except zstandard.ZstdError as error:
        raise ManifestUnreadable(f"the stored manifest cannot be unpacked: {error}") from error
