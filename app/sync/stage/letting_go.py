"""Whether a run may let go what the feed seems to lack: families, and variants that documents dropped.

What left one document may be in another one, so only a run that saw them all can tell (ENGINE.md 4). What another run
finds gone stays active until one can, and is that one's to settle: nothing goes that has only moved.

- A run for single families (`skus`) or of stored documents (`reparse`) judges no manifest and does not ask for what is
  new in others: it lets nothing go.
- A run that fails by its documents lets nothing go.
- A new or changed document that could not be had may come in the next run, and all that is gone waits for it; this run
  ends `completed_with_errors` and names it. One that failed in several runs in a row is waited for no more, or one that
  is broken for good would keep for sale whatever its supplier ever takes off. One that was read under its hash says
  what it said.
"""

from __future__ import annotations

from app.catalogue.verdict import too_many_failed
from app.persistence import documents, runs
from app.persistence.database import Connection
from app.persistence.ledger import ClaimedJob


async def lets_go(db: Connection, job: ClaimedJob) -> bool:
    """Whether the run of this job, whose documents are all asked for, may let anything go."""
    if job.options.skus is not None or job.options.reparse:
        return False
    wanted, failed = await runs.documents_so_far(db, job.run_id)
    if too_many_failed(wanted, failed):
        return False
    return not (failed and await documents.any_may_come(db, job.supplier_id, job.run_id))
