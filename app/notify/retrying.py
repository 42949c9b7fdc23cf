"""When a delivery is tried again: soon at first, for a receiver that restarts, then for about a day."""

from __future__ import annotations

import random

PAUSES_S = (5, 10, 30, 60, 300, 1_800, 7_200, 14_400, 28_800, 32_400)
"""From one try to the next; 23.6 hours in all."""
JITTER = 0.1
LONGEST_WISH_S = 3_600.0
"""What a receiver's Retry-After may ask for."""


def next_pause_s(attempts: int, wish_s: float | None = None) -> float | None:
    """How long to wait after so many attempts, at least what the receiver asked for; None to give up."""
    if attempts > len(PAUSES_S):
        return None
    spread = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  spreads requests, no secret
    return max(PAUSES_S[attempts - 1] * spread, min(wish_s or 0.0, LONGEST_WISH_S))
