"""Cursors: where a page ended, as an opaque text. One that was not made for the list, or was garbled, is a 422.

A cursor holds the sort key of the last item, so that a page begins right after it, whatever was inserted meanwhile.
Each list has its own kind, with a tag of its own: one of another list would be a place that means nothing here.
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar

import msgspec
from fastapi import Query

from app.api.problems import ProblemError

Key = TypeVar("Key", bound=msgspec.Struct)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LARGEST_BIGINT = 2**63 - 1

# `\Z`, not `$`: that also matches before a line break at the end, which is no part of an id
Text = Annotated[str, msgspec.Meta(max_length=10_000, pattern=r"^[^\x00]*\Z")]
Number = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_BIGINT)]
Micros = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_000_000)]
Uuid = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")]
Cursor = Annotated[
    str | None, Query(max_length=20_000, description="`nextCursor` of the page before; empty: the first page.")
]


class AfterTime(msgspec.Struct, array_like=True, frozen=True, tag="t"):
    """After a job, by time and id."""

    micros: Micros
    id: Text


class AfterRun(msgspec.Struct, array_like=True, frozen=True, tag="r"):
    """After a run."""

    micros: Micros
    id: Uuid


class AfterWebhook(msgspec.Struct, array_like=True, frozen=True, tag="h"):
    """After a webhook."""

    micros: Micros
    id: Uuid


class AfterEntry(msgspec.Struct, array_like=True, frozen=True, tag="a"):
    """After an entry of the audit trail."""

    micros: Micros
    id: Number


class AfterSupplier(msgspec.Struct, array_like=True, frozen=True, tag="k"):
    """After a supplier, by code."""

    code: Text


class AfterCategory(msgspec.Struct, array_like=True, frozen=True, tag="c"):
    """After a category."""

    key: Text


class AfterWorker(msgspec.Struct, array_like=True, frozen=True, tag="w"):
    """After a worker."""

    place: Text


class AfterProblem(msgspec.Struct, array_like=True, frozen=True, tag="n"):
    """After a problem of a run."""

    number: Number


class AfterChange(msgspec.Struct, array_like=True, frozen=True, tag="y"):
    """After a change of a product's history."""

    number: Number


class AfterDelivery(msgspec.Struct, array_like=True, frozen=True, tag="d"):
    """After a delivery of a webhook."""

    number: Number


class AfterSku(msgspec.Struct, array_like=True, frozen=True, tag="s"):
    """After a product."""

    sku: Text
    supplier_id: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class AfterUpdate(msgspec.Struct, array_like=True, frozen=True, tag="u"):
    """After a product, by when it changed."""

    micros: Micros
    sku: Text
    supplier_id: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class AfterVariant(msgspec.Struct, array_like=True, frozen=True, tag="v"):
    """After a variant."""

    sku: Text
    supplier_id: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


def write_cursor(key: msgspec.Struct) -> str:
    """A sort key as a cursor."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def read_cursor(kind: type[Key], cursor: str | None) -> Key | None:
    """The sort key in a cursor; None without one."""
    if not cursor:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=kind)
    except (UnicodeEncodeError, binascii.Error, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        message = "is not a cursor of this list: take nextCursor of the page before as it is"
        raise ProblemError(422, f"cursor: {message}", errors=[{"field": "cursor", "message": message}]) from None


def to_micros(moment: datetime) -> int:
    """A time as microseconds since the epoch, without losing any."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    """The time again."""
    return EPOCH + timedelta(microseconds=micros)
