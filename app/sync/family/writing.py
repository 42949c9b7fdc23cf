"""Writing a family's diff: a fixed number of statements, whatever the family's size, and none where nothing differs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app.catalogue.diff import FamilyDiff, StoredProduct, VariantDiff
from app.persistence import catalogue, pictures
from app.persistence.database import Connection, RepeatTransaction
from app.persistence.ledger import ClaimedJob
from app.persistence.pictures import FlippedVariant


@dataclass(frozen=True, slots=True)
class Written:
    """What was written of a family."""

    ids: list[int]
    """The family's variants."""
    old: dict[int, dict[str, Any]]
    """Stored values of the variants that changed, from before."""
    flipped: list[FlippedVariant] = field(default_factory=list)
    """Variants that show another generation of pictures from now on."""
    nothing_changed: bool = False


async def write_family(
    db: Connection,
    job: ClaimedJob,
    product: StoredProduct | None,
    diff: FamilyDiff,
    *,
    version: int,
) -> Written:
    """Write what differs; with the run's `force` also what does not.

    Raises:
        RepeatTransaction: another family inserted one of the variants at the same time.
    """
    rewrite = job.options.force
    changed = [item for item in diff.variants if item.stored is not None and (rewrite or _is_written(item))]
    created = [item for item in diff.variants if item.stored is None]
    whole = diff.kind == "unchanged" and not changed and not created and not diff.dropped
    if whole and product is not None:
        await catalogue.note_applied(db, product.id, version=version)
        return Written(_ids(diff, {}), {}, nothing_changed=True)
    old = await catalogue.stored_parts(db, [item.stored.id for item in changed if item.stored is not None])
    product_id = await catalogue.write_product(
        db, supplier_id=job.supplier_id, sku=diff.family.sku, diff=diff, version=version
    )
    new_ids = await catalogue.insert_variants(db, job.supplier_id, product_id, job.run_id, created)
    if len(new_ids) != len(created):
        raise RepeatTransaction
    await catalogue.update_variants(db, product_id, job.run_id, changed)
    touched = [(_id(item, new_ids), item) for item in (*created, *changed)]
    await catalogue.write_parts(db, touched, rewrite=rewrite)
    flipped = await _write_pictures(db, touched)
    return Written(_ids(diff, new_ids), old, flipped)


async def _write_pictures(db: Connection, touched: list[tuple[int, VariantDiff]]) -> list[FlippedVariant]:
    """New generations where the addresses differ; what returns may show what it was not given while it was away."""
    renewed = {
        key: (item.variant.digests["pictures"], item.variant.pictures)
        for key, item in touched
        if "pictures" in item.parts
    }
    await pictures.write_generations(db, renewed)
    back = [key for key, item in touched if item.kind == "reactivated"]
    flipped = await pictures.show_settled(db, sorted({*renewed, *back}))
    new = {item.sku for _, item in touched if item.stored is None}
    flipped = [item for item in flipped if item.sku not in new and item.looks_otherwise]
    await pictures.touch_products_showing(db, flipped)
    return flipped


def _is_written(item: VariantDiff) -> bool:
    """Whether a stored variant's row differs, be it only in its place, its pictures, or a mark of being dropped."""
    stored = item.stored
    return stored is not None and (
        item.kind != "unchanged" or bool(item.parts) or stored.position != item.position or stored.dropped
    )


def _id(item: VariantDiff, new_ids: dict[str, int]) -> int:
    return new_ids[item.sku] if item.stored is None else item.stored.id


def _ids(diff: FamilyDiff, new_ids: dict[str, int]) -> list[int]:
    return [_id(item, new_ids) for item in diff.variants]
