"""A family's diff as rows of the change feed: what changed, field by field, with old and new values. Pure."""

from __future__ import annotations

from typing import Any

from app.catalogue.diff import VariantDiff, changed_fields
from app.persistence.changes import Change
from app.persistence.pictures import FlippedVariant
from app.sync.family.deciding import Decided
from app.sync.family.writing import Written


def describe(family: Decided, written: Written) -> list[Change]:
    """The changes of a family, the product first, then its variants in order."""
    sku, product, diff = family.diff.family.sku, family.product, family.diff
    found: list[Change] = []
    if product is None:
        found.append(Change("created", "product", sku, sku))
    elif diff.kind == "reactivated":
        found.append(_change("reactivated", "product", sku, sku, diff.fields))
    elif diff.fields:
        found.append(_change("updated", "product", sku, sku, diff.fields))
    for item in diff.variants:
        change = _of_variant(sku, item, written, shows=written.flipped.get((family.job.supplier_id, item.sku)))
        if change is not None:
            found.append(change)
    return found


def _of_variant(sku: str, item: VariantDiff, written: Written, *, shows: FlippedVariant | None) -> Change | None:
    stored = item.stored
    if stored is None:
        return Change("created", "variant", item.sku, sku)
    fields: dict[str, tuple[Any, Any]] = {}
    old = written.old.get(stored.id)
    if old is not None:
        if "content" in item.parts:
            fields |= changed_fields(old["content"], item.variant.content)
        if "prices" in item.parts:
            fields["prices"] = (old["prices"], item.variant.prices)
        if "imprint" in item.parts:
            fields["imprintPositions"] = (old["imprint"], item.variant.imprint)
    if stored.product_sku != sku:
        fields["productSku"] = (stored.product_sku, sku)
    if stored.is_primary != item.is_primary:
        fields["isPrimary"] = (stored.is_primary, item.is_primary)
    if shows is not None:
        fields["images"] = (shows.old, shows.new)
    if item.kind == "reactivated":
        return _change("reactivated", "variant", item.sku, sku, fields)
    return _change("updated", "variant", item.sku, sku, fields) if fields else None


def _change(kind: Any, entity: Any, sku: str, product_sku: str, fields: dict[str, tuple[Any, Any]]) -> Change:
    return Change(
        kind,
        entity,
        sku,
        product_sku,
        tuple(fields),
        {name: old for name, (old, _) in fields.items()},
        {name: new for name, (_, new) in fields.items()},
    )
