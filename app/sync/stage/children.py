"""The jobs that a job leads to: written with its results, in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.jobs.definitions import IMAGE_UPLOAD, PRODUCT_FAMILY, FamilyJob, ImageJob
from app.persistence import documents, ledger, pictures
from app.persistence.database import Connection
from app.persistence.ledger import ClaimedJob, NewJob
from app.settings import Settings


async def add_family_jobs(
    db: Connection,
    job: ClaimedJob,
    families: Sequence[tuple[str, int]],
    *,
    again: str = "",
    judged: bool = False,
) -> list[str]:
    """Write family jobs as children of `job`; returns the ids of those that are new to the run. See `family_jobs`."""
    new = family_jobs(job, families, again=again, judged=judged)
    return await ledger.add_jobs(db, new, run_id=job.run_id, supplier_id=job.supplier_id, direct=job.direct)


def family_jobs(
    job: ClaimedJob, families: Sequence[tuple[str, int]], *, again: str = "", judged: bool = False
) -> list[NewJob]:
    """Family jobs, for a SKU and a version each, as children of `job`.

    `again` marks jobs for a version that the run may have written already, but has a reason to write once more;
    `judged` those whose missing variants the guard has judged.
    """
    return [
        NewJob(
            id=ledger.new_job_id(PRODUCT_FAMILY),
            queue=PRODUCT_FAMILY,
            key=family_key(sku, version, again=again),
            args=msgspec.to_builtins(FamilyJob(family_sku=sku, version=version, judged=judged)),
            parent_id=job.id,
            traceparent=job.traceparent,
        )
        for sku, version in families
    ]


def family_key(sku: str, version: int, *, again: str = "") -> str:
    """The key of a family's job in its run; `again` as in `family_jobs`."""
    return f"{sku}@{version}{again}"


async def add_doubted(db: Connection, job: ClaimedJob) -> list[str]:
    """Family jobs for what was put off until every document of the run has been seen; returns their ids."""
    return await add_family_jobs(db, job, await documents.take_doubted(db, job.supplier_id), again=f"?{job.id}")


async def add_old_pictures(db: Connection, job: ClaimedJob, settings: Settings) -> list[str]:
    """Image jobs for what earlier runs left: pictures unsettled, and stored ones that are to be checked by now."""
    unsettled = await pictures.unsettled_of_supplier(db, job.supplier_id)
    added = await add_image_jobs(db, job, unsettled)
    if settings.image_revalidate_days is not None:
        due = await pictures.due_for_checking(db, job.supplier_id, settings.image_revalidate_days)
        added += await add_image_jobs(db, job, due, revalidate=True)
    return added


async def add_image_jobs(
    db: Connection, job: ClaimedJob, address_ids: Sequence[int], *, revalidate: bool = False
) -> list[str]:
    """Write image jobs as children of `job`, one an address; returns the ids of those that are new to the run.

    `revalidate`, or the run's `force`, has the origin asked of what is stored, too.
    """
    new = [(job, image_job(job, address_id, revalidate=revalidate)) for address_id in address_ids]
    return await ledger.add_children(db, new)


def image_job(job: ClaimedJob, address_id: int, *, revalidate: bool = False) -> NewJob:
    """An image job as a child of `job`."""
    return NewJob(
        id=ledger.new_job_id(IMAGE_UPLOAD),
        queue=IMAGE_UPLOAD,
        key=str(address_id),
        args=msgspec.to_builtins(ImageJob(address_id=address_id, revalidate=revalidate or job.options.force)),
        parent_id=job.id,
        traceparent=job.traceparent,
    )
