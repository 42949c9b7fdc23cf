"""Suppliers: who they are, and whether they are synced."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.catalogue.guard import OddLines
from app.persistence.statements import text


class Supplier(msgspec.Struct, frozen=True):
    """A supplier as the sync needs it."""

    id: int
    document_id: str
    code: str
    name: str
    is_active: bool
    removal_guard_share: float | None
    clean_manifest: str | None
    """The sha256 of the manifest that left nothing to do; None once anything else was seen."""
    clean_entries: int | None
    odd_lines: Sequence[int]
    """Digests of the lines that could not be read in the manifest that it was last synced with."""
    odd_lines_beyond: int
    """How many lines more there were than are told apart."""

    @property
    def known_odd_lines(self) -> OddLines:
        """What `note_odd_lines` noted last."""
        return OddLines(frozenset(self.odd_lines), self.odd_lines_beyond)


COLUMNS = """id, document_id, code, name, is_active, removal_guard_share, clean_manifest, clean_entries, odd_lines,
    odd_lines_beyond"""


def meant(name: str) -> str:
    """The SQL of whom the parameter `name` means, by id: the supplier with this `documentId`, else with this code."""
    is_it = f"document_id = :{name}"
    return f"SELECT id FROM suppliers WHERE {is_it} OR code = :{name} ORDER BY {is_it} DESC LIMIT 1"


MEANT = meant("key")


class Added(msgspec.Struct, frozen=True):
    """What became of codes that a manifest names, as far as there was no such supplier; both sorted."""

    codes: list[str]
    """The ones that were added."""
    passed_over: list[str]
    """The ones that are another supplier's `documentId`: each would mean that one, wherever a supplier is named."""


async def find_supplier(db: AsyncConnection, document_id_or_code: str) -> Supplier | None:
    """The supplier with this `documentId`, else the one with this code."""
    rows = await db.execute(text(f"SELECT {COLUMNS} FROM suppliers WHERE id = ({MEANT})"), {"key": document_id_or_code})
    row = rows.mappings().one_or_none()
    return None if row is None else Supplier(**row)


async def get_supplier(db: AsyncConnection, supplier_id: int) -> Supplier:
    """The supplier of a job; its row cannot be gone, since the job refers to it."""
    rows = await db.execute(text(f"SELECT {COLUMNS} FROM suppliers WHERE id = :id"), {"id": supplier_id})
    return Supplier(**rows.mappings().one())


async def hold_supplier(db: AsyncConnection, supplier_id: int) -> None:
    """Hold a supplier's row until the end of the transaction."""
    await db.execute(text("SELECT 1 FROM suppliers WHERE id = :id FOR NO KEY UPDATE"), {"id": supplier_id})


async def active_suppliers(db: AsyncConnection) -> list[Supplier]:
    """All suppliers that are synced when nobody names one, by code."""
    rows = await db.execute(text(f'SELECT {COLUMNS} FROM suppliers WHERE is_active ORDER BY code COLLATE "C"'))
    return [Supplier(**row) for row in rows.mappings()]


async def add_suppliers(db: AsyncConnection, codes: Sequence[str]) -> Added:
    """Add the suppliers that are not known yet, active and named like their code."""
    rows = await db.execute(
        text("""
        WITH named AS (
            SELECT r.document_id, r.code
            FROM unnest(CAST(:document_ids AS text[]), CAST(:codes AS text[])) AS r(document_id, code)
            WHERE NOT EXISTS (SELECT 1 FROM suppliers s WHERE s.code = r.code)),
        passed_over AS (SELECT n.code FROM named n JOIN suppliers s ON s.document_id = n.code),
        added AS (
            INSERT INTO suppliers (document_id, code, name)
            SELECT n.document_id, n.code, n.code FROM named n WHERE n.code NOT IN (SELECT code FROM passed_over)
            ON CONFLICT (code) DO NOTHING RETURNING code)
        SELECT code, true AS is_new FROM added UNION ALL SELECT code, false FROM passed_over"""),
        {"document_ids": [uuid4().hex[:24] for _ in codes], "codes": list(codes)},
    )
    found = sorted((row.code, row.is_new) for row in rows)
    return Added([code for code, is_new in found if is_new], [code for code, is_new in found if not is_new])


async def note_clean(db: AsyncConnection, supplier_id: int, sha256: str | None, entries: int | None) -> None:
    """Note the manifest that left nothing to do for a supplier, or that there is none (None)."""
    await db.execute(
        text("""
        UPDATE suppliers SET clean_manifest = :sha256, clean_entries = :entries
        WHERE id = :id AND clean_manifest IS DISTINCT FROM :sha256"""),
        {"id": supplier_id, "sha256": sha256, "entries": entries},
    )


async def note_odd_lines(db: AsyncConnection, supplier_id: int, lines: OddLines) -> None:
    """Note which lines could not be read in the manifest that a supplier is synced with; the next one is compared."""
    await db.execute(
        text("""
        UPDATE suppliers SET odd_lines = CAST(:digests AS bigint[]), odd_lines_beyond = :beyond
        WHERE id = :id AND (odd_lines, odd_lines_beyond) IS DISTINCT FROM (CAST(:digests AS bigint[]), :beyond)"""),
        {"id": supplier_id, "digests": sorted(lines.digests), "beyond": lines.beyond},
    )
