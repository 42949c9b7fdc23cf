"""Jobs that this process has claimed and begins soon, for a stage that looks up for all of them what one of them needs.

claimed together ─▶ noted ─▶ the first one to begin takes them all along in its look-up
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from app.persistence.ledger import ClaimedJob

MOST = 1_000


class ExpectedJobs:
    """Of one process. What nobody takes is forgotten, the oldest first."""

    def __init__(self) -> None:
        self._jobs: deque[ClaimedJob] = deque(maxlen=MOST)

    def note(self, jobs: Iterable[ClaimedJob]) -> None:
        """These were claimed just now."""
        self._jobs.extend(jobs)

    def take(self) -> list[ClaimedJob]:
        """Those that were noted since the last time."""
        jobs = list(self._jobs)
        self._jobs.clear()
        return jobs
