"""Whether a run may let go what the feed seems to lack: families, and variants that documents dropped.

What left one document may be in another one, so only who saw them all can tell (ENGINE.md 4): nothing goes that has
only moved. What waits stays active, and is the next ordinary sync's to settle.

- A run that fails by its documents lets nothing go.
- Families that the manifest lacks go with any other run that judges it. So do their variants, unless others list them.
- What a document that is still there dropped waits while another one that is new or changed was not read: it failed, or
  was not asked for by a run for single families (`skus`) or of stored documents (`reparse`). Such a run judges no
  manifest either: where that names less than before, what it hides may list what is gone. One that failed in several
  runs in a row is waited for no more: broken for good it would keep for sale whatever its supplier takes off.
"""

from __future__ import annotations

from app.catalogue.verdict import too_many_failed
from app.persistence import documents, runs
from app.persistence.database import Connection
from app.persistence.ledger import ClaimedJob


async def fails_by_documents(db: Connection, job: ClaimedJob) -> bool:
    """Whether so many of the documents that the run asked for could not be had that it fails."""
    return _fails(await runs.documents_so_far(db, job.run_id))


async def saw_all(db: Connection, job: ClaimedJob) -> bool:
    """Whether the run of this job, whose documents are all asked for, read all that may list what others dropped."""
    so_far = await runs.documents_so_far(db, job.run_id)
    if _fails(so_far):
        return False
    if job.options.skus is not None or job.options.reparse:
        return not so_far.missing and not await documents.any_unread(db, job.supplier_id, job.run_id)
    return not (so_far.failed and await documents.any_may_come(db, job.supplier_id, job.run_id))


def _fails(so_far: runs.DocumentsSoFar) -> bool:
    return too_many_failed(so_far.wanted, so_far.failed)
