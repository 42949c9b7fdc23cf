"""Changes of the catalogue, as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import JsonValue

from app.persistence.change_feed import ChangeRow
from app.views.buying_prices import without_buying
from app.views.shapes import Out, example

CHANGE: dict[str, Any] = {
    "seq": 4711,
    "kind": "updated",
    "entity": "variant",
    "sku": "A360-100804-001",
    "productSku": "A360-100804",
    "supplier": "A360",
    "fields": ["prices", "name.nl"],
    "runId": "5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8",
    "at": "2026-01-05T03:01:00Z",
}
HISTORY_ENTRY: dict[str, Any] = {**CHANGE, "old": {"name.nl": "Tas"}, "new": {"name.nl": "Rugzak"}}


class WhatChanged(Out):
    """What a change is of, and which fields differ."""

    kind: Literal["created", "updated", "discontinued", "reactivated"]
    entity: Literal["product", "variant"]
    sku: str
    product_sku: str
    supplier: str
    fields: list[str]
    run_id: str | None
    at: datetime


class Change(WhatChanged):
    """One change; `fields` names what differs."""

    model_config = example(**CHANGE)
    seq: int


class ChangePage(Out):
    """Changes in order; `nextCursor` is null when the page reached the head."""

    model_config = example(items=[CHANGE], nextCursor=None, head=4711)
    items: list[Change]
    next_cursor: str | None
    head: int


class HistoryEntry(WhatChanged):
    """One change with its values; `seq` is null for the moment until it is numbered."""

    model_config = example(**HISTORY_ENTRY)
    seq: int | None
    old: dict[str, JsonValue] | None
    new: dict[str, JsonValue] | None


COLUMN_OF = {"seq": "seq"} | {field.alias or name: name for name, field in WhatChanged.model_fields.items()}
"""A change's names outside to its columns."""


def change_json(row: ChangeRow) -> dict[str, Any]:
    """A change without its values."""
    return {name: row[column] for name, column in COLUMN_OF.items()}


def history_json(row: ChangeRow, *, sees_buying: bool) -> dict[str, Any]:
    """A change with its old and new values, without buying prices for who may not see them."""
    values = {"old": row["old"], "new": row["new"]}
    return {**change_json(row), **(values if sees_buying else without_buying(values))}
