"""The category file: asked for conditionally and at most once a day; a profile without one is normal."""

from __future__ import annotations

from app.errors import OriginRefused, PermanentError, TransientError
from app.feed.categories import read_categories
from app.outbound.client import Fetched
from app.persistence import manifests, problems
from app.persistence.database import Connection
from app.persistence.problems import Problem
from app.sync.services import Services
from app.sync.stage.context import Stage, plain_reason
from app.sync.supplier.manifest_step import document_hosts, manifest_limits


async def refresh_categories(stage: Stage, run_id: str, profile: bytes) -> None:
    """Take over what the category file says; what goes wrong is a warning of the run and nothing more.

    Raises:
        DatabaseUnavailable: PostgreSQL is away.
    """
    services = stage.services
    url = f"{services.settings.base_url}/CAT.csv"

    async def take_turn(db: Connection) -> tuple[str | None, str | None] | None:
        return await manifests.claim_category_check(db, profile, url)

    validators = await services.database.transact(take_turn)
    if validators is None:
        return
    try:
        fetched = await _ask_both(services, url, validators)
    except OriginRefused:
        return
    except (TransientError, PermanentError) as error:
        await _warn(services, run_id, url, plain_reason(str(error), url))
        return
    if not fetched.not_modified:
        await _store(services, profile, fetched)


async def _ask_both(services: Services, url: str, validators: tuple[str | None, str | None]) -> Fetched:
    """The file at the base, or where older profiles have it (FEED.md, "Addresses")."""
    try:
        return await _ask(services, url, validators)
    except OriginRefused:
        return await _ask(services, url.replace("/CAT.csv", "/Import/CAT.csv"), validators)


async def _ask(services: Services, url: str, validators: tuple[str | None, str | None]) -> Fetched:
    etag, last_modified = validators
    headers = {"If-None-Match": etag, "If-Modified-Since": last_modified}
    return await services.outbound.get(
        url,
        limits=manifest_limits(services.settings),
        allowed_hosts=document_hosts(services.settings),
        headers={name: value for name, value in headers.items() if value},
    )


async def _store(services: Services, profile: bytes, fetched: Fetched) -> None:
    names = {category.key: category.name for category in read_categories(fetched.body)}

    async def work(db: Connection) -> None:
        await manifests.store_categories(db, profile, names, fetched.etag, fetched.last_modified)

    await services.database.transact(work)


async def _warn(services: Services, run_id: str, url: str, reason: str) -> None:
    async def work(db: Connection) -> None:
        await problems.add_problems(db, run_id, [Problem("warning", "supplier", "categories", reason, url=url)])

    await services.database.transact(work)
