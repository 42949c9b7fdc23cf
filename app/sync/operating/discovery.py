"""What a manifest names: the connection test, and finding the suppliers of a profile."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from structlog import get_logger

from app.persistence import audit, suppliers
from app.persistence.database import Connection
from app.persistence.suppliers import Added
from app.sync.services import Services
from app.sync.supplier.manifest_step import get_manifest

log = get_logger()


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


async def discover(services: Services) -> Added:
    """Add the suppliers that the manifest names and that are not known yet; what cannot be added is logged, too.

    Raises:
        OriginUnavailable, OriginRefused, ManifestUnreadable: the manifest could not be had or read, and why.
        SettingsError: PROMIDATA_BASE_URL is not set.
    """
    manifest = await get_manifest(services)
    codes = sorted(manifest.data.entries)

    async def work(db: Connection) -> Added:
        added = await suppliers.add_suppliers(db, codes)
        passed_over = {"passedOver": added.passed_over} if added.passed_over else {}
        if added.codes:
            await audit.note(db, "discoverSuppliers", None, added=added.codes, **passed_over)
        else:
            audit.mention(None, **passed_over)
        return added

    added = await services.database.transact(work)
    if added.passed_over:
        log.warning("not added: another supplier has this code as its documentId", codes=added.passed_over)
    return added


def _by_code(entries: Mapping[str, Mapping[str, object]]) -> list[SupplierEntries]:
    return [SupplierEntries(code, len(entries[code])) for code in sorted(entries)]
