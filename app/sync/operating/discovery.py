"""What a manifest names: the connection test, and finding the suppliers of a profile."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from app.persistence import audit, suppliers
from app.persistence.database import Connection
from app.sync.services import Services
from app.sync.supplier.manifest_step import get_manifest


class SupplierEntries(msgspec.Struct, frozen=True):
    """A supplier as the manifest has it."""

    code: str
    entries: int


class FeedCheck(msgspec.Struct, frozen=True):
    """What a connection test found."""

    ok: bool
    entries: int
    suppliers: list[SupplierEntries]
    invalid: int


async def check_feed(services: Services) -> FeedCheck:
    """Read the manifest and say what is in it; nothing is stored.

    Raises:
        OriginUnavailable, OriginRefused, ManifestUnreadable: it could not be had or read, and why.
        SettingsError: PROMIDATA_BASE_URL is not set.
    """
    manifest = await get_manifest(services)
    data = manifest.data
    return FeedCheck(ok=True, entries=data.total, suppliers=_by_code(data.entries), invalid=data.invalid_total)


async def discover(services: Services) -> list[str]:
    """Add the suppliers that the manifest names and that are not known yet; returns their codes.

    Raises:
        OriginUnavailable, OriginRefused, ManifestUnreadable: the manifest could not be had or read, and why.
        SettingsError: PROMIDATA_BASE_URL is not set.
    """
    manifest = await get_manifest(services)
    codes = sorted(manifest.data.entries)

    async def work(db: Connection) -> list[str]:
        added = await suppliers.add_suppliers(db, codes)
        if added:
            await audit.note(db, "discoverSuppliers", None, added=added)
        return added

    return await services.database.transact(work)


def _by_code(entries: Mapping[str, Mapping[str, object]]) -> list[SupplierEntries]:
    return [SupplierEntries(code, len(entries[code])) for code in sorted(entries)]
