"""`promidata-sync changes`, `history` and `categories`: what changed, in order, and by product."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal

import orjson

from app.cli.exits import end_if_unread
from app.cli.named import know_supplier, with_supplier_asked
from app.cli.surroundings import with_services
from app.cli.telling import Teller, in_one_line, own_name, tell_json, tell_lines
from app.errors import Invalid
from app.persistence import categories, change_feed
from app.persistence.categories import CategoryRow
from app.persistence.change_feed import ChangeRow, FeedEnds
from app.sync.services import Services
from app.views.by_sku import one_product
from app.views.changes import change_json, history_json

PAGE = 500
LARGEST_BIGINT = 2**63 - 1
NEWEST = 20
LOOK_EVERY_S = 0.5
"""For what comes, and whether anybody reads it still."""
VALUE_CHARS = 60
"""Of an old or new value, what a line shows; --json has all of it."""
Form = Literal["text", "json", "ndjson"]


def show_changes(*, since: int | None, follow: bool, limit: int | None, form: Form) -> None:
    """Print the changes after `since`, or the newest ones; `follow` goes on with what comes.

    Raises:
        Invalid: `since` is after the feed's head, or so old that what came after it is forgotten.
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def read(services: Services) -> None:
        newest = limit if form == "ndjson" else limit or NEWEST
        told: list[dict[str, Any]] = []
        async with services.database.read() as db:
            begin = _beginning(since, newest, await change_feed.feed_ends(db))
        async for rows in _pages(services, begin, None if follow else limit, follow=follow):
            changes = [change_json(row) for row in rows]
            told += changes if form == "json" else _print(changes, form)
        if form == "json":
            tell_json(told)

    with_services(read)


async def _pages(
    services: Services, position: int, most: int | None, *, follow: bool
) -> AsyncIterator[list[ChangeRow]]:
    """Pages of changes; what is printed is printed between the statements, so that a full pipe holds nothing.

    Raises:
        SystemExit: it waits for more, and the reader has gone (`| head`).
    """
    left = most
    while left != 0:
        async with services.database.read() as db:
            rows = await change_feed.changes_since(db, position, PAGE if left is None else min(left, PAGE))
        if rows:
            yield rows
            position = rows[-1]["seq"]
            left = None if left is None else left - len(rows)
        elif follow:
            await asyncio.sleep(LOOK_EVERY_S)
            end_if_unread()
        else:
            return


def _beginning(since: int | None, newest: int | None, ends: FeedEnds) -> int:
    if since is None:
        return ends.pruned if newest is None else max(ends.pruned, ends.head - newest)
    if since > ends.head:
        raise Invalid(f"--since {since} is after the head, {ends.head}: nothing has that number yet")
    if since < ends.pruned:
        raise Invalid(
            f"changes up to {ends.pruned} are forgotten: list the products again, and follow from {ends.head}"
        )
    return since


def _print(changes: Sequence[Mapping[str, Any]], form: Form) -> list[dict[str, Any]]:
    if form == "ndjson":
        tell_lines(b"".join(orjson.dumps(change, option=orjson.OPT_UTC_Z) + b"\n" for change in changes))
        return []
    teller = Teller()
    for change in changes:
        teller.say(in_one_line(f"{change['seq']}  {_what(change)}  {', '.join(change['fields'])}".rstrip()))
    return []


def _what(change: Mapping[str, Any]) -> str:
    return f"{change['at']:%Y-%m-%d %H:%M:%S}  {change['kind']} {change['entity']} {change['sku']}"


def show_history(sku: str, *, supplier: str | None, limit: int, as_json: bool) -> None:
    """Print what changed about a product and its variants, the newest first.

    Raises:
        NotFound: there is no such product or supplier.
        Conflict: several suppliers have it, and none was named.
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def read(services: Services) -> list[ChangeRow]:
        await know_supplier(services, supplier)
        async with services.database.read() as db:
            product = await one_product(db, sku, supplier)
            return await change_feed.history_of(
                db, product.supplier_id, product.sku, before_id=LARGEST_BIGINT, limit=limit
            )

    entries = [history_json(row, sees_buying=True) for row in with_services(with_supplier_asked(read))]
    if as_json:
        tell_json(entries)
        return
    teller = Teller()
    for entry in entries:
        teller.say(in_one_line(_what(entry)))
        for field in entry["fields"]:
            teller.say(in_one_line(f"    {field}: {_value(entry['old'], field)} -> {_value(entry['new'], field)}"))
    if not entries:
        teller.say("nothing of it has changed since it is known")


def _value(values: Mapping[str, Any] | None, field: str) -> str:
    if values is None or field not in values:
        return "-"
    shown = orjson.dumps(values[field]).decode()
    return shown if len(shown) <= VALUE_CHARS else f"{shown[:VALUE_CHARS]}…"


def show_categories(*, as_json: bool) -> None:
    """Print all categories by path.

    Raises:
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def read(services: Services) -> list[CategoryRow]:
        rows: list[CategoryRow] = []
        async with services.database.read() as db:
            while page := await categories.list_categories(db, after_key=rows[-1].key if rows else "", limit=PAGE):
                rows += page
        return rows

    rows = with_services(read)
    if as_json:
        tell_json([{"key": row.key, "name": row.name} for row in rows])
        return
    teller = Teller()
    for row in rows:
        teller.say(in_one_line(f"{row.key}  {next(iter(row.name.values()), '')}".rstrip()))
    if not rows:
        teller.say(f"no categories; `{own_name()} sync` reads the profile's category file")
