"""Claims of a direct sync's jobs: as many as there are slots free, whatever plan PostgreSQL chooses."""

from __future__ import annotations

from app.jobs.definitions import PRODUCT_FAMILY
from app.persistence import ledger
from tests.support.ledger_rows import add_jobs, add_run
from tests.support.plans import look_anew_for_each_row
from tests.support.stack import Stack


async def test_no_more_are_claimed_than_were_asked_for(stack: Stack) -> None:
    run_id = await add_run(stack, status="running", mode="direct")
    await add_jobs(stack, run_id, queue=PRODUCT_FAMILY, state="waiting", count=7, direct=True)
    async with stack.services.database.begin() as db:
        await look_anew_for_each_row(db)
        claimed = await ledger.claim_of_run(db, run_id, PRODUCT_FAMILY, 2)
    assert len(claimed) == 2
