"""The category file: asked for conditionally and at most once a day; a profile without one is normal.

    the day's look taken ─▶ conditional GET ─┬─ there is none, or nothing new ─▶ the look is booked
                                             ├─ read, and not too much lost ─▶ the names replaced, the look booked
                                             └─ anything else ─▶ the names stay, a warning, the look given back

The validators of a body that was refused are not kept, so that a 304 does not hide it.
"""

from __future__ import annotations

from app.catalogue.guard import check_categories
from app.errors import CategoriesRefused, NoPlace, OriginRefused, PermanentError, TransientError
from app.feed.categories import read_categories
from app.outbound.client import Fetched
from app.persistence import categories, ledger, problems
from app.persistence.database import Connection
from app.persistence.ledger import ClaimedJob
from app.persistence.problems import Problem
from app.sync.services import Services
from app.sync.stage.context import Stage, plain_reason
from app.sync.stage.places import place_within_s
from app.sync.supplier.manifest_step import document_hosts, manifest_limits

ABSENT = frozenset({403, 404, 410})
"""What says that a profile has no category file; S3 says 403 of what is not there where it may not be listed."""


async def refresh_categories(stage: Stage, job: ClaimedJob, profile: bytes) -> None:
    """Take over what the category file says; what goes wrong is a warning of the run and nothing more.

    Raises:
        ClaimLost: the job is not ours any more; nothing was written.
        DatabaseUnavailable: PostgreSQL is away.
    """
    services = stage.services
    url = f"{services.settings.base_url}/CAT.csv"

    async def take_turn(db: Connection) -> tuple[str | None, str | None] | None:
        await ledger.fence(db, job)
        return await categories.claim_look(db, profile, url)

    validators = await services.database.transact(take_turn)
    if validators is None:
        return
    try:
        await _take_over(services, job, profile, await _ask_both(services, url, validators))
    except (NoPlace, TransientError, PermanentError) as error:
        await _give_back(
            services, job, profile, Problem("warning", "supplier", "categories", plain_reason(str(error), url), url=url)
        )


async def _ask_both(services: Services, url: str, validators: tuple[str | None, str | None]) -> Fetched | None:
    """The file at the base, or where older profiles have it (FEED.md, "Addresses"); None where there is none."""
    for place in (url, url.replace("/CAT.csv", "/Import/CAT.csv")):
        try:
            return await _ask(services, place, validators)
        except OriginRefused as error:
            if error.status not in ABSENT:
                raise
    return None


async def _ask(services: Services, url: str, validators: tuple[str | None, str | None]) -> Fetched:
    etag, last_modified = validators
    headers = {"If-None-Match": etag, "If-Modified-Since": last_modified}
    return await services.outbound.get(
        url,
        kind="categories",
        limits=manifest_limits(services.settings),
        allowed_hosts=document_hosts(services.settings),
        headers={name: value for name, value in headers.items() if value},
        place_within_s=place_within_s(services.settings.job_timeout_supplier_ms),
    )


async def _take_over(services: Services, job: ClaimedJob, profile: bytes, fetched: Fetched | None) -> None:
    """Take the names over, where there are new ones, and book the look.

    Raises:
        CategoriesRefused: it is no category file, or names too few of those that are known; nothing was written.
    """
    names = None if fetched is None or fetched.not_modified else _read(fetched)
    etag, last_modified = (None, None) if fetched is None else (fetched.etag, fetched.last_modified)

    async def work(db: Connection) -> None:
        await ledger.fence(db, job)
        if names is not None:
            known = await categories.known_keys(db, profile)
            lost, share = len(known - names.keys()), services.settings.removal_guard_share
            reason = check_categories(lost=lost, known=len(known), share=share)
            if reason:
                raise CategoriesRefused(reason)
            await categories.replace_categories(db, profile, names, etag, last_modified)
        await categories.book_look(db, profile)

    await services.database.transact(work)


def _read(fetched: Fetched) -> dict[str, dict[str, str]]:
    if not fetched.end_marked and not fetched.body.endswith((b"\n", b"\r")):
        raise CategoriesRefused("the category file ended in the middle of a line, so the names stay as they are")
    return {category.key: category.name for category in read_categories(fetched.body)}


async def _give_back(services: Services, job: ClaimedJob, profile: bytes, why: Problem) -> None:
    async def work(db: Connection) -> None:
        await ledger.fence(db, job)
        await problems.add_problems(db, job.run_id, [why])
        await categories.give_look_back(db, profile)

    await services.database.transact(work)
