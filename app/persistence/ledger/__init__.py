"""The ledger of jobs: what is to be done, who does it, and how it ended. The truth behind every queue.

Rules (ENGINE.md 1): a job is claimed before its code runs, by a random token; every commit of a stage starts with the
fence, which matches that token; what does not come back from the fence writes nothing. Rows are locked by id, before
any other row, and the run's row last. Functions take an open connection; whoever calls commits.

Where jobs are given by id, each is looked up by its primary key in a LATERAL subquery with a lock or a LIMIT. A plain
join would be planned by what PostgreSQL thinks the table holds, which in the middle of a first sync is nothing: it then
reads the index of all open jobs once a batch. What is written then is found by `= ANY(ARRAY(SELECT ...))` beside the
join: the join alone reads the whole table, as long as it is smaller than so many look-ups seem to be.
"""

from __future__ import annotations

from app.persistence.ledger.adding import ADDED, add_children, add_jobs, added_values
from app.persistence.ledger.claims import (
    MAX_DEATHS,
    SPREAD_S,
    SUSPECT_DEATHS,
    active_unheld,
    claim,
    claim_of_run,
    closed_among,
    hand_back,
    lost,
    note_wait,
)
from app.persistence.ledger.ends import (
    ERROR_MAX_CHARS,
    bounded,
    checkpoint,
    complete,
    complete_one,
    delay,
    end_cancelled,
    fail,
    fence,
    hold,
    set_result,
    take_back_unchanged,
    written_before,
)
from app.persistence.ledger.pausing import is_paused, set_paused
from app.persistence.ledger.progress import PastDocuments, runs_past_their_documents, write_progress
from app.persistence.ledger.rows import ClaimedJob, NewJob, Owner, RunOptions, Unclaimed, new_job_id, to_json
from app.persistence.ledger.standing import standing_of

__all__ = [
    "ADDED",
    "ERROR_MAX_CHARS",
    "MAX_DEATHS",
    "SPREAD_S",
    "SUSPECT_DEATHS",
    "ClaimedJob",
    "NewJob",
    "Owner",
    "PastDocuments",
    "RunOptions",
    "Unclaimed",
    "active_unheld",
    "add_children",
    "add_jobs",
    "added_values",
    "bounded",
    "checkpoint",
    "claim",
    "claim_of_run",
    "closed_among",
    "complete",
    "complete_one",
    "delay",
    "end_cancelled",
    "fail",
    "fence",
    "hand_back",
    "hold",
    "is_paused",
    "lost",
    "new_job_id",
    "note_wait",
    "runs_past_their_documents",
    "set_paused",
    "set_result",
    "standing_of",
    "take_back_unchanged",
    "to_json",
    "write_progress",
    "written_before",
]
