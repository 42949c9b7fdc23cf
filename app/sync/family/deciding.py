"""Families decided: what their documents say beside what is stored, each by itself, on rows that are held."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.catalogue.diff import FamilyDiff, StoredProduct, StoredVariant, decide
from app.catalogue.suspicion import why_suspect
from app.persistence import catalogue, documents
from app.persistence.catalogue import LockedVariant
from app.persistence.database import Connection
from app.persistence.documents import StoredDocument
from app.persistence.ledger import ClaimedJob
from app.sync.family.reading import FamilyRead


@dataclass(frozen=True, slots=True)
class FamilyReady:
    """A family that was read, to be written."""

    job: ClaimedJob
    read: FamilyRead
    judged: bool
    """The guard has judged what it lacks: it is not doubted."""

    @property
    def name(self) -> tuple[int, str]:
        """Its supplier and SKU."""
        return self.job.supplier_id, self.read.family.sku

    @property
    def variants(self) -> list[tuple[int, str]]:
        """The suppliers and SKUs of the variants that its documents list."""
        return [(self.job.supplier_id, variant.sku) for variant in self.read.family.variants]


@dataclass(frozen=True, slots=True)
class Decided:
    """What is to be written of a family, or why not yet."""

    ready: FamilyReady
    product: StoredProduct | None
    diff: FamilyDiff
    doubt: str | None
    """Why its documents are not believed yet."""

    @property
    def job(self) -> ClaimedJob:
        """The job that writes it."""
        return self.ready.job

    @property
    def read(self) -> FamilyRead:
        """What its documents say."""
        return self.ready.read

    @property
    def fetched(self) -> int:
        """How many of its documents this run fetched."""
        return sum(item.fetched_run_id == self.job.run_id for item in self.read.chosen)

    @property
    def was_written(self) -> bool:
        """Whether another job of the run wrote these very documents: versions only grow, and this run fetched them."""
        return self.fetched > 0 and self.product is not None and self.product.applied_version >= self.read.version

    @property
    def takes_from(self) -> set[tuple[int, str]]:
        """The families, by supplier and SKU, of which it takes variants that they dropped."""
        supplier_id, sku = self.ready.name
        taken = [item.stored for item in self.diff.variants if item.stored is not None and item.stored.dropped]
        return {(supplier_id, variant.product_sku) for variant in taken if variant.product_sku != sku}


@dataclass(frozen=True, slots=True)
class _Beside:
    """A family beside what is stored of it."""

    ready: FamilyReady
    product: StoredProduct | None
    stored: dict[str, StoredVariant]

    @property
    def touches(self) -> set[tuple[int, str]]:
        """Every variant that the decision reads or may write, by supplier and SKU."""
        supplier_id = self.ready.job.supplier_id
        return {*self.ready.variants, *((supplier_id, sku) for sku in self.stored)}


async def decide_families(db: Connection, ready: Sequence[FamilyReady]) -> list[Decided]:
    """Hold the families' products and variants, and decide.

    One that shares a variant with one before it, or is the same family once more, is left out: what it comes to depends
    on what that one writes.
    """
    products = await catalogue.lock_products(db, sorted({item.name for item in ready}))
    variants = sorted({variant for item in ready for variant in item.variants})
    locked = await catalogue.lock_variants(db, variants, sorted(product.id for product in products.values()))
    apart = _apart(_beside(ready, products, locked))
    listers = await documents.other_listers(
        db, [(*variant, item.ready.name[1]) for item in apart for variant in sorted(item.touches)]
    )
    return [_decide(item, listers) for item in apart]


def _beside(
    ready: Sequence[FamilyReady], products: Mapping[tuple[int, str], StoredProduct], locked: Sequence[LockedVariant]
) -> list[_Beside]:
    by_name = {(item.supplier_id, item.variant.sku): item for item in locked}
    by_product: dict[int, list[LockedVariant]] = {}
    for item in locked:
        if item.variant.status == "active":
            by_product.setdefault(item.product_id, []).append(item)
    found = []
    for family in ready:
        product = products.get(family.name)
        own = by_product.get(product.id, []) if product is not None else []
        listed = [by_name[name] for name in family.variants if name in by_name]
        stored = {item.variant.sku: item.in_run(family.job.run_id) for item in (*listed, *own)}
        found.append(_Beside(family, product, stored))
    return found


def _apart(families: Iterable[_Beside]) -> list[_Beside]:
    names: set[tuple[int, str]] = set()
    variants: set[tuple[int, str]] = set()
    apart = []
    for family in families:
        if family.ready.name in names or not variants.isdisjoint(family.touches):
            continue
        names.add(family.ready.name)
        variants |= family.touches
        apart.append(family)
    return apart


def _decide(beside: _Beside, listers: Mapping[tuple[int, str], list[str]]) -> Decided:
    ready, stored, sku = beside.ready, beside.stored, beside.ready.name[1]
    others = {name: listers[name] for name in beside.touches if name in listers}
    elsewhere = {variant: families for (_, variant), families in others.items()}
    diff = decide(ready.read.family, beside.product, stored, elsewhere)
    believed = ready.judged or _are_confirmed(ready.read.chosen)
    own = [variant for variant in stored.values() if variant.product_sku == variant.owner_before == sku]
    active = sum(variant.status == "active" for variant in own)
    return Decided(ready, beside.product, diff, None if believed else why_suspect(diff, active, elsewhere))


def _are_confirmed(chosen: Sequence[StoredDocument]) -> bool:
    """Whether the family's documents say once more what was doubted of them, and none of them something else.

    One that could not be read again says what it said.
    """
    return any(document.confirms for document in chosen) and not any(document.contradicts for document in chosen)
