"""How long to wait before a transient error is tried again."""

from __future__ import annotations

import random

from app.settings import Settings
from app.time_limits import LONGEST_WAIT_S


def retry_wait_s(settings: Settings, attempts: int, retry_after_s: float | None) -> float | None:
    """Seconds to wait after `attempts` failures: exponential with jitter, at least what was asked for.

    Returns None when the other side asks for longer than we are willing to wait.
    """
    if retry_after_s is not None and retry_after_s > LONGEST_WAIT_S:
        return None
    doubled_s: float = settings.retry_backoff_s * 2 ** (attempts - 1)
    wait_s = doubled_s * random.uniform(0.75, 1.25)  # noqa: S311  spreads retries, no secret
    return min(LONGEST_WAIT_S, max(wait_s, retry_after_s or 0.0))
