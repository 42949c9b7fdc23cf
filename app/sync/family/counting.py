"""What families come to in their run's counters, each variant and document once, however often a run writes a family.

A run writes a family again for what another one dropped, or where documents left it. What the first job found as it is
stored was counted then, and is taken back where it is written after all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from app.persistence import catalogue, changes, ledger
from app.persistence.database import Connection
from app.sync.family.deciding import Decided
from app.sync.family.writing import is_unchanged
from app.sync.stage.children import family_key


async def count_families(db: Connection, families: Sequence[Decided]) -> dict[str, Counter[str]]:
    """What is added to a run's counters for its families, by job; they are written, and held.

    `documents_unchanged` below zero takes back what an earlier job of the run had counted.
    """
    before = await _written_before(db, families)
    first = [family for family in families if family.job.id not in before]
    again = [family for family in families if family.job.id in before]
    counts = {family.job.id: Counter(f"variants_{item.kind}" for item in family.diff.variants) for family in families}
    for family in again:
        del counts[family.job.id]["variants_unchanged"]
    for family, number in await _in_vain(db, first):
        counts[family.job.id]["documents_unchanged"] = number
    for family, number in await _not_in_vain(db, [family for family in again if not is_unchanged(family)]):
        counts[family.job.id]["documents_unchanged"] = -number
    for family, number in await _not_left(db, again):
        counts[family.job.id]["variants_unchanged"] = -number
    return counts


async def _written_before(db: Connection, families: Sequence[Decided]) -> set[str]:
    """The jobs whose families another job of the run wrote from these documents; it need not have fetched them."""
    unfetched = [
        family
        for family in families
        if not family.fetched and family.product is not None and family.product.applied_version >= family.read.version
    ]
    known = {family.job.id for family in families if family.was_written}
    return known | await ledger.written_before(db, [(family.job, *_keys(family)) for family in unfetched])


def _keys(family: Decided) -> tuple[str, str]:
    """The keys that the run's jobs for the family have: for all of its documents, and for what is left of them."""
    sku, version = family.read.family.sku, family.job.args["version"]
    return family_key(sku, version), family_key(sku, version, again=f"-{len(family.read.chosen)}")


async def _in_vain(db: Connection, families: Sequence[Decided]) -> list[tuple[Decided, int]]:
    """Families that the run leaves as they were, and how many documents it fetched for them.

    One that lost a variant before its own document was written, since that lists it no more, is not as it was.
    """
    same = [(family, family.product) for family in families if family.fetched and is_unchanged(family)]
    products = [(family.job.run_id, product.id) for family, product in same if product is not None]
    touched = await catalogue.touched_in_run(db, products)
    return [(family, family.fetched) for family, product in same if product is not None and product.id not in touched]


async def _not_in_vain(db: Connection, families: Sequence[Decided]) -> list[tuple[Decided, int]]:
    """Families whose documents an earlier job of the run counted as unchanged, and how many."""
    keys = {(family.job.run_id, key): family for family in families for key in _keys(family)}
    return [(keys[key], number) for key, number in await ledger.take_back_unchanged(db, list(keys))]


async def _not_left(db: Connection, families: Sequence[Decided]) -> list[tuple[Decided, int]]:
    """Families of which variants change only now that an earlier job of the run had left as they were."""
    owned = {
        (family.job.run_id, family.job.supplier_id, item.sku): family
        for family in families
        for item in family.diff.variants
        if item.kind == "updated" and item.stored is not None and item.stored.product_sku == family.read.family.sku
    }
    told = await changes.told_in_run(db, [(*name, family.read.family.sku) for name, family in owned.items()])
    left = Counter(family.job.id for name, family in owned.items() if name not in told)
    return [(family, left[family.job.id]) for family in families if left[family.job.id]]
