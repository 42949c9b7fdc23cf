"""Effects the variants that documents dropped: a family that lists one takes it over, else it is discontinued.

Each stage that ends something does it in its own commit: the supplier job's end, a family whose supplier job is over,
a reparse. A variant that left its family may have moved to another one that is read later, so none is discontinued
before every document has been seen (`letting_go.py`). Where the guard tripped that never was: what the manifest hides
may list it, so it stays, until a manifest is believed. A family that the manifest lacks is discontinued with the last
of its variants.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from app.persistence import catalogue, changes
from app.persistence.changes import Change
from app.persistence.database import Connection
from app.persistence.ledger import ClaimedJob
from app.sync.stage.children import add_family_jobs
from app.sync.stage.letting_go import saw_all
from app.sync.stage.primaries import place_primaries


@dataclass(slots=True)
class Effects:
    """What a commit adds up."""

    counts: Counter[str] = field(default_factory=Counter)
    added: list[str] = field(default_factory=list)


async def place_dropped(
    db: Connection,
    job: ClaimedJob,
    effects: Effects,
    price_regions: Sequence[str],
    *,
    but_not: Collection[str] = (),
) -> None:
    """Settle the supplier's dropped variants: hand them to a family that lists them, or discontinue them.

    Those of families that are still there wait where not all documents were read. `but_not` are the families that this
    commit writes: they have just said that they do not list them.
    """
    if not await catalogue.any_dropped(db, job.supplier_id):
        return
    gone = await catalogue.take_dropped(db, job.supplier_id, all_families=await saw_all(db, job))
    losing = {(job.supplier_id, item.product_sku): job for item in gone}
    await end_emptied(db, losing)
    stepped = await step_back_held(db, job)
    placed = await place_primaries(db, list(losing), price_regions)
    effects.counts.update(variants_discontinued=len(gone), variants_updated=stepped + len(placed))
    told = [_of_variant("discontinued", item.sku, item.product_sku, steps_back=item.steps_back) for item in gone]
    told += [change for _, change in placed]
    await changes.add_changes(db, supplier_id=job.supplier_id, run_id=job.run_id, changes=told)
    taking = await catalogue.takers(db, job.supplier_id, but_not)
    effects.added += await add_family_jobs(db, job, taking, again=f"+{job.id}")


async def step_back_held(db: Connection, job: ClaimedJob) -> int:
    """What is held back stands for its family no more beside another variant that does; returns how many did."""
    held = await catalogue.step_back_held(db, job.supplier_id)
    told = [_of_variant("updated", sku, family, steps_back=True) for sku, family in held]
    await changes.add_changes(db, supplier_id=job.supplier_id, run_id=job.run_id, changes=told)
    return len(held)


def _of_variant(kind: Literal["discontinued", "updated"], sku: str, family: str, *, steps_back: bool) -> Change:
    if not steps_back:
        return Change(kind, "variant", sku, family)
    return Change(kind, "variant", sku, family, ("isPrimary",), {"isPrimary": True}, {"isPrimary": False})


async def end_emptied(db: Connection, losing: Mapping[tuple[int, str], ClaimedJob]) -> None:
    """Discontinue families that the manifest lacks and that have just lost their last variant, to another or for good.

    `losing` are the families that dropped variants were taken from, by supplier and SKU, and the jobs that took them.
    """
    emptied = await catalogue.let_emptied_go(db, sorted(losing))
    told = [(losing[name], Change("discontinued", "product", name[1], name[1])) for name in emptied]
    await changes.add_changes_of(db, [(job.supplier_id, job.run_id, change) for job, change in told])
