"""A dry run: what the manifest alone says a sync would do. Nothing else is fetched and nothing is written."""

from __future__ import annotations

from typing import Any

import msgspec

from app.catalogue.guard import ManifestState, check_removals
from app.persistence import catalogue, documents
from app.persistence.database import Connection
from app.persistence.documents import SaidEntry
from app.persistence.suppliers import Supplier
from app.signs_of_life import sign_of_life
from app.sync.operating.start import StartRequest, meant
from app.sync.services import Services
from app.sync.supplier.manifest_step import Manifest, get_manifest

FIRST = 20
"""How many SKUs of each kind are named."""


class DryRun(msgspec.Struct, frozen=True):
    """What a sync of one supplier would do."""

    supplier: str
    manifest: dict[str, int]
    """As in a run: entries, new, changed, unchanged, removed, invalid."""
    guard: dict[str, Any] | None
    skus: dict[str, list[str]]
    """The first twenty of `new`, `changed` and `removed`."""


async def dry_run(services: Services, request: StartRequest) -> list[DryRun]:
    """Say what a sync would do.

    Raises:
        NotFound, Conflict, Invalid: as for a sync.
        OriginUnavailable, OriginRefused, ManifestUnreadable: the manifest could not be had or read, and why.
    """
    async with services.database.read() as db:
        suppliers = await meant(db, request)
    manifest = await get_manifest(services)
    async with services.database.read() as db:
        return [await _look(db, services, supplier, manifest) for supplier in suppliers]


async def _look(db: Connection, services: Services, supplier: Supplier, manifest: Manifest) -> DryRun:
    sign_of_life()  # somebody waits, and may have asked for many suppliers
    said = [SaidEntry(item.file_name, item.url, item.hash) for item in manifest.data.entries_of(supplier.code)]
    seen = await documents.preview_manifest(db, supplier.id, said)
    names = [item.file_name for item in said]
    share = supplier.removal_guard_share
    going = seen.removed or await documents.former_families(db, supplier.id)
    new_odd_lines = manifest.data.odd_lines_of(supplier.code).not_in(supplier.known_odd_lines) if seen.removed else 0
    tripped = check_removals(
        ManifestState(manifest.sha256, manifest.data.total, manifest.applied_entries, manifest.data.last_line_cut),
        would_remove=await documents.count_families_missing(db, supplier.id, names) if going else 0,
        active=await catalogue.count_active_families(db, supplier.id),
        share=services.settings.removal_guard_share if share is None else share,
        confirmed=False,
        new_odd_lines=new_odd_lines,
    )
    return DryRun(
        supplier=supplier.code,
        manifest={
            "entries": len(said),
            "new": len(seen.new),
            "changed": len(seen.changed),
            "unchanged": len(said) - len(seen.new) - len(seen.changed),
            "removed": len(seen.removed),
            "invalid": manifest.data.invalid_count_of(supplier.code),
        },
        guard=None if tripped is None else tripped[0].as_json(),
        skus={
            "new": _first(seen.new),
            "changed": _first(seen.changed),
            "removed": _first(seen.removed),
        },
    )


def _first(skus: list[str]) -> list[str]:
    return list(dict.fromkeys(skus))[:FIRST]
