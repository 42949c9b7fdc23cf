"""Jobs of one address that were retried together: the first one asks the origin, and its end is that of the others.

a job with `after` ─▶ that one is open? ────▶ wait, no attempt is spent
                      ├─ failed ────────────▶ failed alike, the address is not blamed once more
                      └─ anything else ─────▶ the address as it is now: stored, so only linked, or asked after all
"""

from __future__ import annotations

from app.errors import AskedInVain, GoesAfter
from app.persistence import ledger
from app.sync.services import Services

LOOK_AGAIN_S = 2.0
"""While the first one is running, or waits for its turn."""


async def let_first_end(services: Services, first_id: str) -> None:
    """Return when the job that asks for others, too, ended otherwise than failed.

    Raises:
        GoesAfter: it is open.
        AskedInVain: it failed.
        DatabaseUnavailable: PostgreSQL is away.
    """
    async with services.database.quick() as db:
        first = await ledger.standing_of(db, first_id)
    if first is None:
        return
    if first.is_open:
        raise GoesAfter(
            f"{first_id} asks for the same picture, and goes first", max(0.0, first.due_in_s) + LOOK_AGAIN_S
        )
    if first.failure is not None:
        raise AskedInVain(first.failure, first.kind or "failed")
