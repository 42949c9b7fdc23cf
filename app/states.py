"""The states of jobs and runs, and who may move a job: one table, which the database enforces too.

`alembic/versions/0013` carries the same table in a trigger and a test holds the two together;
`promidata-sync states` draws the diagram from it.
"""

from __future__ import annotations

from typing import Literal

JobState = Literal["waiting", "active", "delayed", "completed", "failed", "cancelled"]

TRANSITIONS: dict[JobState, dict[JobState, str]] = {
    "waiting": {"active": "a worker claims it", "cancelled": "its run is cancelled"},
    "delayed": {"active": "its time has come and a worker claims it", "cancelled": "its run is cancelled"},
    "active": {
        "completed": "its results were committed",
        "failed": "attempts spent, a permanent error, or ten deaths",
        "delayed": "it is tried again, or waits as asked",
        "waiting": "it was handed back unspent",
        "cancelled": "its run is cancelled",
    },
    "failed": {"waiting": "retried by hand"},
    "completed": {},
    "cancelled": {},
}

OPEN: tuple[JobState, ...] = ("waiting", "active", "delayed")
"""A run with a job in one of these is not over."""
WAITING: tuple[JobState, ...] = ("waiting", "delayed")
"""Open, and no worker has it."""
CLOSED: tuple[JobState, ...] = ("completed", "failed", "cancelled")
UNDER_WAY = ("queued", "running", "cancelling")
"""The statuses of a run that is not over."""


def draw() -> str:
    """The state diagram in Mermaid's notation.

    >>> print(draw().splitlines()[1])
        [*] --> waiting
    """
    lines = ["stateDiagram-v2", "    [*] --> waiting"]
    lines += [f"    {old} --> {new}: {why}" for old, moves in TRANSITIONS.items() for new, why in moves.items()]
    lines += [f"    {state} --> [*]" for state in ("completed", "cancelled")]
    return "\n".join(lines)
