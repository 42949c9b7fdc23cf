"""The manifest, asked for once a run: a 304 means "use the stored one", never "done".

stored validators ─▶ conditional GET ─▶ 304: the stored body │ 200: store it ─▶ read ─▶ Manifest
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import msgspec
import zstandard

from app import traces
from app.errors import AddressRefused, ManifestUnreadable
from app.feed.manifest import ManifestData, ascii_host, read_manifest
from app.outbound.client import Fetched, FetchLimits
from app.persistence import ledger, manifests
from app.persistence.database import Connection
from app.persistence.ledger import ClaimedJob
from app.persistence.manifests import StoredManifest
from app.settings import Settings
from app.sync.services import Services

ZSTD_LEVEL = 3


class ManifestBody(msgspec.Struct, frozen=True):
    """A profile's manifest as it stands now, not read yet."""

    profile: bytes
    sha256: str
    fetched: Fetched
    stored: StoredManifest | None

    @property
    def is_stored(self) -> bool:
        """Whether what stands now is what we have, byte for byte."""
        return self.stored is not None and self.stored.sha256 == self.sha256


class Manifest(msgspec.Struct, frozen=True):
    """A profile's manifest as it stands now."""

    profile: bytes
    sha256: str
    data: ManifestData
    applied_entries: int | None


def document_hosts(settings: Settings) -> frozenset[str]:
    """The hosts that documents may lie on: the base's, on any port, and those that are listed."""
    return frozenset(map(ascii_host, (urlsplit(settings.base_url).hostname or "", *settings.document_hosts)))


def manifest_limits(settings: Settings) -> FetchLimits:
    """What the manifest, or the category file, may cost."""
    return FetchLimits(
        max_bytes=settings.manifest_max_bytes,
        connect_timeout_s=settings.connect_timeout_s,
        first_byte_timeout_s=settings.first_byte_timeout_s,
        total_timeout_s=settings.document_timeout_s,
    )


async def get_manifest(services: Services) -> Manifest:
    """Ask for the manifest and read it, without keeping it: for a dry run and a connection test.

    Raises:
        OriginUnavailable: transient.
        OriginRefused, ManifestUnreadable: it is gone, empty, not text, or names nothing.
    """
    return await read(services, await fetch(services))


async def fetch(services: Services, *, place_within_s: float | None = None) -> ManifestBody:
    """Ask for the manifest, conditionally; for `place_within_s` seconds its host is waited for, None is for ever.

    Raises:
        NoPlace: the host was not to be asked in that time.
        OriginUnavailable: transient.
        OriginRefused: it is gone.
    """
    profile = manifests.profile_key(services.settings.base_url)
    async with services.database.read() as db:
        stored = await manifests.stored_manifest(db, profile)
    fetched = await _ask(services, stored, place_within_s)
    if not fetched.not_modified and not fetched.end_marked and await asyncio.to_thread(_seems_cut, services, fetched):
        # bytes that end early are asked for again (ENGINE.md 3); a second answer of the kind is the guard's business
        fetched = await _ask(services, stored, place_within_s)
    if fetched.not_modified and stored is not None:
        return ManifestBody(profile, stored.sha256, fetched, stored)
    return ManifestBody(profile, hashlib.sha256(fetched.body).hexdigest(), fetched, stored)


async def read(services: Services, body: ManifestBody) -> Manifest:
    """Read a manifest, from the stored body where the origin sent none.

    Raises:
        ManifestUnreadable: it is empty, not text, or names nothing.
    """
    settings = services.settings
    raw = body.fetched.body
    if body.fetched.not_modified and body.stored is not None:
        raw = await asyncio.to_thread(_unpack, body.stored.body)
    data = await asyncio.to_thread(_read, settings, raw)
    applied_entries = None if body.stored is None else body.stored.applied_entries
    return Manifest(body.profile, body.sha256, data, applied_entries)


async def keep(services: Services, job: ClaimedJob, body: ManifestBody, entries: int) -> None:
    """Store a manifest that was read, in place of the last one; one that is stored already is left alone.

    Raises:
        ClaimLost: the job is not ours any more; nothing was written.
        DatabaseUnavailable: PostgreSQL is away.
    """
    fetched = body.fetched
    if fetched.not_modified:
        return
    if body.is_stored and body.stored is not None:
        same = (body.stored.etag, body.stored.last_modified) == (fetched.etag, fetched.last_modified)
        if same:
            return
    packed = await asyncio.to_thread(zstandard.compress, fetched.body, ZSTD_LEVEL)

    async def work(db: Connection) -> None:
        await ledger.fence(db, job)
        await manifests.store_manifest(
            db,
            body.profile,
            sha256=body.sha256,
            body=packed,
            etag=fetched.etag,
            last_modified=fetched.last_modified,
            entries=entries,
        )

    await services.database.transact(work)


async def _ask(services: Services, stored: StoredManifest | None, place_within_s: float | None) -> Fetched:
    headers = {}
    if stored is not None and stored.etag:
        headers["If-None-Match"] = stored.etag
    if stored is not None and stored.last_modified:
        headers["If-Modified-Since"] = stored.last_modified
    settings = services.settings
    url = f"{settings.base_url}/Import/Import.txt"
    with traces.span("manifest fetch", kind="client", url=url) as span, naming_what_allows(settings):
        fetched = await services.outbound.get(
            url,
            kind="manifest",
            limits=manifest_limits(settings),
            allowed_hosts=document_hosts(settings),
            headers=headers,
            place_within_s=place_within_s,
        )
        span.note(bytes=len(fetched.body), outcome="not modified" if fetched.not_modified else "fetched")
        return fetched


@contextmanager
def naming_what_allows(settings: Settings) -> Iterator[None]:
    """Where the feed itself is at a private address, say with which setting it may be asked.

    Only for the address that the operator has set: of a document's it would be advice to open one's network to whoever
    writes the manifest.
    """
    try:
        yield
    except AddressRefused as error:
        if not error.private or any("%" in address for address in error.private):
            raise
        allowed = ",".join([*map(str, settings.allow_private_addresses), *error.private])
        message = f"{error}; if PROMIDATA_BASE_URL is right, set ALLOW_PRIVATE_ADDRESSES={allowed}"
        raise AddressRefused(message, error.kind, error.private) from error


def _read(settings: Settings, body: bytes) -> ManifestData:
    return read_manifest(body, base_url=settings.base_url, allowed_hosts=tuple(document_hosts(settings)))


def _seems_cut(services: Services, fetched: Fetched) -> bool:
    """Whether a body whose end nothing marked ends in the middle of a line."""
    try:
        return _read(services.settings, fetched.body).last_line_cut
    except ManifestUnreadable:
        return True


def _unpack(body: bytes) -> bytes:
    try:
        return zstandard.decompress(body)
    except zstandard.ZstdError as error:
        raise ManifestUnreadable(f"the stored manifest cannot be unpacked: {error}") from error
