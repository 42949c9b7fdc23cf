"""`promidata-sync feed check`: read the manifest and say what is in it. Needs the feed's address and nothing else."""

from __future__ import annotations

import asyncio

import msgspec

from app.cli.first_sync import entries_table
from app.cli.interrupts import interruptible
from app.cli.surroundings import find_settings
from app.cli.telling import Teller, tell_json
from app.feed.manifest import read_manifest
from app.outbound.client import OutboundClient
from app.settings import Settings
from app.sync.operating.discovery import FeedCheck, SupplierEntries
from app.sync.supplier.manifest_step import document_hosts, manifest_limits, naming_what_allows


def run_feed_check(*, as_json: bool) -> None:
    """Print how many entries, suppliers and invalid lines the manifest has.

    Raises:
        OriginUnavailable, OriginRefused, AddressRefused, ManifestUnreadable: it could not be had or read, and why.
        SettingsError: PROMIDATA_BASE_URL is not set.
    """
    check = interruptible(check_manifest(find_settings()))
    if as_json:
        tell_json(msgspec.to_builtins(check))
    else:
        Teller().show(entries_table(check))


async def check_manifest(settings: Settings) -> FeedCheck:
    """Read the manifest, without a database.

    Raises:
        OriginUnavailable, OriginRefused, AddressRefused, ManifestUnreadable: it could not be had or read, and why.
        SettingsError: PROMIDATA_BASE_URL is not set.
    """
    hosts = document_hosts(settings)
    async with OutboundClient(allow_private=settings.allow_private_addresses) as outbound:
        with naming_what_allows(settings):
            fetched = await outbound.get(
                f"{settings.base_url}/Import/Import.txt",
                kind="manifest",
                limits=manifest_limits(settings),
                allowed_hosts=hosts,
            )
    data = await asyncio.to_thread(read_manifest, fetched.body, base_url=settings.base_url, allowed_hosts=tuple(hosts))
    suppliers = [SupplierEntries(code, len(data.entries[code])) for code in sorted(data.entries)]
    return FeedCheck(ok=True, entries=data.total, suppliers=suppliers, invalid=data.invalid_total)
