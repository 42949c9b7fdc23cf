"""Writing families: a fixed number of statements, however many and large they are, and none where nothing differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.catalogue.diff import VariantDiff
from app.persistence import catalogue, pictures
from app.persistence.catalogue import ProductRow, VariantRow
from app.persistence.database import Connection, RepeatTransaction
from app.persistence.pictures import FlippedVariant, NamedAddress
from app.sync.family.deciding import Decided


@dataclass(frozen=True, slots=True)
class Written:
    """What was written of a batch of families."""

    old: dict[int, dict[str, Any]]
    """Stored values of the variants that changed, from before, by id."""
    flipped: dict[tuple[int, str], FlippedVariant] = field(default_factory=dict)
    """Variants that show another generation of pictures from now on, by supplier and SKU."""


@dataclass(frozen=True, slots=True)
class _Touched:
    """A variant that is written."""

    family: Decided
    item: VariantDiff
    id: int

    def has(self, part: Any) -> bool:
        """Whether a part of it is to be written."""
        return self.family.job.options.force or part in self.item.parts


async def write_families(db: Connection, families: Sequence[Decided], addresses: Mapping[str, NamedAddress]) -> Written:
    """Write what differs; with a run's `force` also what does not.

    Raises:
        RepeatTransaction: another family inserted one of the variants at the same time.
    """
    same = [family for family in families if is_unchanged(family)]
    await catalogue.note_applied(
        db, {family.product.id: family.read.version for family in same if family.product is not None}
    )
    differing = [family for family in families if not is_unchanged(family)]
    old = await catalogue.stored_parts(db, [item.stored.id for _, item in _changed(differing) if item.stored])
    product_ids = await catalogue.write_products(
        db, [ProductRow(family.job.supplier_id, family.read.version, family.diff) for family in differing]
    )
    touched = await _write_variants(db, differing, product_ids)
    await catalogue.write_prices(db, [(it.id, it.item.variant.prices) for it in touched if it.has("prices")])
    await catalogue.write_imprint(db, [(it.id, it.item.variant.imprint) for it in touched if it.has("imprint")])
    return Written(old, await _write_pictures(db, touched, addresses))


def is_unchanged(family: Decided) -> bool:
    """Whether nothing of a family is to be written."""
    diff = family.diff
    same = family.product is not None and diff.kind == "unchanged" and not diff.dropped
    return same and not any(item.stored is None or _is_written(family, item) for item in diff.variants)


async def _write_variants(
    db: Connection, families: Sequence[Decided], product_ids: Mapping[tuple[int, str], int]
) -> list[_Touched]:
    def row(family: Decided, item: VariantDiff) -> VariantRow:
        return VariantRow(family.job.supplier_id, family.job.run_id, product_ids[family.ready.name], item)

    created = [(family, item) for family in families for item in family.diff.variants if item.stored is None]
    changed = list(_changed(families))
    new_ids = await catalogue.insert_variants(db, [row(*pair) for pair in created])
    if len(new_ids) != len(created):
        raise RepeatTransaction
    await catalogue.update_variants(db, [row(*pair) for pair in changed])
    return [
        *(_Touched(family, item, new_ids[family.job.supplier_id, item.sku]) for family, item in created),
        *(_Touched(family, item, item.stored.id) for family, item in changed if item.stored is not None),
    ]


def _changed(families: Sequence[Decided]) -> Iterator[tuple[Decided, VariantDiff]]:
    for family in families:
        for item in family.diff.variants:
            if item.stored is not None and _is_written(family, item):
                yield family, item


def _is_written(family: Decided, item: VariantDiff) -> bool:
    """Whether a stored variant's row differs, be it only in its place, its pictures, or a mark of being dropped."""
    stored = item.stored
    return stored is not None and (
        family.job.options.force
        or item.kind != "unchanged"
        or bool(item.parts)
        or stored.position != item.position
        or stored.dropped
    )


async def _write_pictures(
    db: Connection, touched: Sequence[_Touched], addresses: Mapping[str, NamedAddress]
) -> dict[tuple[int, str], FlippedVariant]:
    """New generations where the addresses differ; what returns may show what it was not given while it was away.

    A new variant's first generation came with its row. One that waits for a picture is shown by that one's commit.
    """
    first = {it.id: it.item.variant.pictures for it in touched if it.item.stored is None}
    renewed = {
        it.id: (it.item.variant.digests["pictures"], it.item.variant.pictures)
        for it in touched
        if it.item.stored is not None and "pictures" in it.item.parts
    }
    await pictures.write_shown(db, first)
    await pictures.write_generations(db, renewed)
    complete = [
        it
        for it in touched
        if (first.get(it.id) or it.id in renewed or it.item.kind == "reactivated")
        and all(addresses[picture["url"]].state != "pending" for picture in it.item.variant.pictures)
    ]
    known = {(it.family.job.supplier_id, it.item.sku) for it in touched if it.item.stored is not None}
    flipped = {
        (item.supplier_id, item.sku): item
        for item in await pictures.show_settled(db, sorted(it.id for it in complete))
        if item.looks_otherwise and (item.supplier_id, item.sku) in known
    }
    await pictures.touch_products_showing(db, list(flipped.values()))
    return flipped
