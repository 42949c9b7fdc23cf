"""What somebody asks for ends with an entry in the audit trail, whatever becomes of it.

asked ─▶ done, and noted in its own transaction ─▶ nothing more to write
├▶ done, and nothing noted ─▶ `ok`, or what the door says of it
├▶ refused: not there, not possible, not allowed ─▶ `refused`, and why
├▶ any other error ─▶ `failed`, and why
└▶ stopped by Ctrl-C, or given up: what was noted is, anything else is `failed`
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from structlog import get_logger

from app.errors import OutageError, RequestError
from app.persistence.audit import Act, Result, acting, write_entry
from app.persistence.database import Connection, Database
from app.settings import Settings
from app.views.masking import mask_base

log = get_logger()

REASON_CHARS = 500
STOPPED = "stopped before its end"
AFTER_OUTAGE_S = 1.0
"""For so long whoever was told of an outage waits for an entry about it: PostgreSQL may be what is away."""
Told = tuple[Result, str]
"""What came of something, and why."""


def told(error: Exception) -> Told:
    """What an error comes to, and why."""
    return "refused" if isinstance(error, RequestError) else "failed", str(error) or type(error).__name__


@asynccontextmanager
async def audited(
    database: Database, settings: Settings, act: Act, tell: Callable[[Exception], Told] = told
) -> AsyncIterator[None]:
    """The block is what `act` asks for; `tell` says what an error of it comes to."""
    try:
        with acting(act):
            yield
    except Exception as error:
        act.result, why = tell(error)
        act.detail["reason"] = mask_base(settings, why)[:REASON_CHARS]
        await _write(database, act, within_s=AFTER_OUTAGE_S if isinstance(error, OutageError) else None)
        raise
    except asyncio.CancelledError:
        if not act.is_noted:
            act.result, act.detail["reason"] = "failed", STOPPED
            await _write(database, act)
        raise
    if not act.is_noted:
        await _write(database, act)


async def _write(database: Database, act: Act, *, within_s: float | None = None) -> None:
    """Write the entry after what was done, which is told all the same where that is not possible, or not so soon."""

    async def work(db: Connection) -> None:
        await write_entry(db, act)

    try:
        async with asyncio.timeout(within_s):
            await database.transact(work)
    except (OutageError, TimeoutError) as error:
        entry = {"actor": act.actor, "action": act.action, "target": act.target, "result": act.result}
        why = str(error) or "no answer in time"
        log.error("no entry in the audit trail", error=why, **entry)  # noqa: TRY400 - the outage is told elsewhere
