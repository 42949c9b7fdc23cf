"""The audit trail: who did what to what, written in the transaction that does it (API.md, "Audit").

    a door: who acts ─▶ acting(...) ─▶ what is done notes itself, in its own transaction
                          └ nothing noted, or an error: the door writes it afterwards (app/sync/operating/acting.py)

Who acts goes along with the task, so that what is done by a key, by somebody at the machine or by a schedule is one
code. What nobody does (a worker at its jobs) leaves no entry. Rows are never changed: a trigger refuses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.persistence.statements import text

Via = Literal["api", "dashboard", "cli", "schedule"]
Result = Literal["ok", "refused", "failed"]
AuditRow = Mapping[str, Any]
"""One entry: the columns of `audit`, by name."""


class Act(msgspec.Struct):
    """Who acts, what was asked for, and what is known of it so far."""

    actor: str
    role: str | None
    via: Via
    action: str
    """What was asked for, in the words of OpenAPI's operation ids."""
    target: str | None = None
    address: str | None = None
    result: Result = "ok"
    detail: dict[str, object] = {}
    is_noted: bool = False
    """Something that was done has noted itself."""


TARGET_CHARS = 300
LISTED = 20
_acting: ContextVar[Act | None] = ContextVar("acting", default=None)


@contextmanager
def acting(act: Act) -> Iterator[None]:
    """Whatever the block does is done by this act."""
    before = _acting.set(act)
    try:
        yield
    finally:
        _acting.reset(before)


class Noted(NamedTuple):
    """Whether an act, if there is one, had noted itself at some moment."""

    act: Act | None
    so_far: bool

    def undo(self) -> None:
        """What has been noted since then counts for nothing: its transaction was rolled back.

        One that is repeated may then find nothing left to do, and the door has to write what came of it.
        """
        if self.act is not None:
            self.act.is_noted = self.so_far


NOBODYS = Noted(None, so_far=False)


def noted_until_now() -> Noted:
    """To be taken before a transaction, which may note what is done in it."""
    act = _acting.get()
    return NOBODYS if act is None else Noted(act, act.is_noted)


async def note_begun(db: AsyncConnection) -> None:
    """Write down that something of many transactions begins; its end is written by the door, as for what notes nothing.

    So that one whose process is killed in between has left a trace.
    """
    act = _acting.get()
    if act is not None:
        await write_entry(db, msgspec.structs.replace(act, detail=act.detail | {"begun": True}))


def mention(target: str | None, **detail: object) -> None:
    """Say more of what is asked for, for the entry of what turns out to have done nothing."""
    act = _acting.get()
    if act is not None:
        act.target = target if act.target is None else act.target
        act.detail |= detail


async def note(db: AsyncConnection, action: str, target: str | None, **detail: object) -> None:
    """Write down what this transaction does, if somebody acts; whoever calls commits both or neither."""
    act = _acting.get()
    if act is not None:
        await write_entry(db, msgspec.structs.replace(act, action=action, target=target, result="ok", detail=detail))
        act.is_noted = True


async def write_entry(db: AsyncConnection, act: Act) -> None:
    """Write one entry."""
    await db.execute(
        text("""
        INSERT INTO audit (actor, role, via, action, target, result, detail, address)
        VALUES (:actor, :role, :via, :action, :target, :result, CAST(:detail AS jsonb), :address)"""),
        msgspec.structs.asdict(act) | {"target": _cut(act.target), "detail": _json(act.detail)},
    )


def _cut(target: str | None) -> str | None:
    return None if target is None else _storable(target)[:TARGET_CHARS]


def _json(detail: Mapping[str, object]) -> str:
    return msgspec.json.encode({name: _short(value) for name, value in detail.items()}).decode()


def _short(value: object) -> object:
    """What PostgreSQL takes, of a long list its beginning: ten thousand SKUs may be asked for at once."""
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, (list, tuple)):
        more = [f"and {len(value) - LISTED} more"] if len(value) > LISTED else []
        return [_short(part) for part in value[:LISTED]] + more
    return value


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")


class AuditFilter(msgspec.Struct, frozen=True):
    """Which entries are meant; None means any."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None


CONDITIONS = {
    "actor": "actor = :actor",
    "action": "action = :action",
    "target": "target = :target",
    "since": "at >= :since",
    "until": "at < :until",
}


async def list_entries(
    db: AsyncConnection, wanted: AuditFilter, *, before: tuple[datetime, int] | None, limit: int
) -> list[AuditRow]:
    """A page of entries, the newest first, from before (`at`, `id`)."""
    statement, parameters = entries_statement(wanted, before=before, limit=limit)
    return [dict(row) for row in (await db.execute(text(statement), parameters)).mappings()]


def entries_statement(
    wanted: AuditFilter, *, before: tuple[datetime, int] | None, limit: int
) -> tuple[str, dict[str, object]]:
    """The statement behind `list_entries`, with its parameters."""
    asked = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not None}
    conditions = ["true", *(CONDITIONS[name] for name in asked)]
    parameters: dict[str, object] = {**asked, "limit": limit}
    if before is not None:
        conditions.append("(at, id) < (CAST(:before_at AS timestamptz), :before_id)")
        parameters |= {"before_at": before[0], "before_id": before[1]}
    where = " AND ".join(conditions)
    return f"SELECT * FROM audit WHERE {where} ORDER BY at DESC, id DESC LIMIT :limit", parameters
