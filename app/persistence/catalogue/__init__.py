"""Writing the catalogue: a family's product and variants, as one set of statements, however many and large they are.

Rows are locked and written in the order of their SKUs; every statement takes its rows as one JSON parameter.
"""

from __future__ import annotations

from app.persistence.catalogue.families import (
    LockedVariant,
    ProductRow,
    VariantRow,
    insert_variants,
    lock_products,
    lock_variants,
    note_applied,
    touched_in_run,
    update_variants,
    write_products,
)
from app.persistence.catalogue.parts import stored_parts, write_imprint, write_prices
from app.persistence.catalogue.primaries import settle_primaries
from app.persistence.catalogue.removals import (
    adopt_dropped,
    any_dropped,
    count_active_families,
    drop_families,
    drop_unlisted,
    families_without_documents,
    let_emptied_go,
    mark_dropped,
    step_back_held,
    take_dropped,
    takers,
)

__all__ = [
    "LockedVariant",
    "ProductRow",
    "VariantRow",
    "adopt_dropped",
    "any_dropped",
    "count_active_families",
    "drop_families",
    "drop_unlisted",
    "families_without_documents",
    "insert_variants",
    "let_emptied_go",
    "lock_products",
    "lock_variants",
    "mark_dropped",
    "note_applied",
    "settle_primaries",
    "step_back_held",
    "stored_parts",
    "take_dropped",
    "takers",
    "touched_in_run",
    "update_variants",
    "write_imprint",
    "write_prices",
    "write_products",
]
