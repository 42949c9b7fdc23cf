"""What image jobs have in hand while a part of ours is away, so that an outage repeats only what it stopped.

downloaded and judged ─▶ its bytes, bounded together │ stored ─▶ what is to be recorded, without bytes
                         └─ too many: the oldest go, and are fetched once more
"""

from __future__ import annotations

from collections import OrderedDict

from app.images.download import DownloadedPicture, NotModified
from app.persistence.media import StoredPicture
from app.sync.image import overlap

InHand = DownloadedPicture | NotModified | StoredPicture
MOST_BYTES = 64 * 1024 * 1024 + overlap.MOST_BYTES
"""Ten usual pictures are one or two; with those that were on their way to the store beside the slots."""
MOST_JOBS = 10_000
"""Of whom nobody heard again: a worker that lost a job is not told what became of it."""


class Hands:
    """What each job has reached, by its id."""

    def __init__(self, *, most_bytes: int = MOST_BYTES, most_jobs: int = MOST_JOBS) -> None:
        self._held: OrderedDict[str, InHand] = OrderedDict()
        self._bytes = 0
        self._most_bytes, self._most_jobs = most_bytes, most_jobs

    def of(self, job_id: str) -> InHand | None:
        """What the job has reached before, or None."""
        return self._held.get(job_id)

    def hold(self, job_id: str, got: InHand) -> None:
        """Keep what the job has reached, in place of what it had; the oldest make room."""
        self.drop(job_id)
        self._held[job_id] = got
        self._bytes += _bytes(got)
        while self._bytes > self._most_bytes or len(self._held) > self._most_jobs:
            self.drop(self._next_to_go())

    def drop(self, job_id: str) -> None:
        """Forget the job, which is over or begins anew."""
        got = self._held.pop(job_id, None)
        if got is not None:
            self._bytes -= _bytes(got)

    def _next_to_go(self) -> str:
        """The oldest that frees what there is too much of."""
        if self._bytes > self._most_bytes:
            return next(job_id for job_id, got in self._held.items() if _bytes(got))
        return next(iter(self._held))


def _bytes(got: InHand) -> int:
    return len(got.body) if isinstance(got, DownloadedPicture) else 0
