"""How long a job waits, in its slot, for a place among the requests to a host."""

from __future__ import annotations

PLACE_WITHIN_S = 5.0
"""Who waits for longer comes back when the host may be asked: one host that wants a pause must not have all slots."""
PLACE_SHARE = 0.25
"""Of a job's time, at most, since that runs on meanwhile."""


def place_within_s(job_timeout_ms: int) -> float:
    """For how many seconds a job with this time-out waits.

    >>> place_within_s(120_000), place_within_s(4_000)
    (5.0, 1.0)
    """
    return min(PLACE_WITHIN_S, job_timeout_ms / 1000 * PLACE_SHARE)
