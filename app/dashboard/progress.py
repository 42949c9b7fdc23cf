"""How far a run is: its three stages, how fast they go, and how long they still take. Pure."""

from __future__ import annotations

import msgspec

from app.views.runs import Run


class StageProgress(msgspec.Struct, frozen=True):
    """One stage of a run."""

    name: str
    done: int
    """Of them, `failed` failed."""
    failed: int
    total: int
    a_second: float | None
    """Since the run began; None before that, and when nothing is done."""
    left_s: float | None
    """Seconds to its end at this speed; None where that cannot be said, or nothing is left."""

    @property
    def share(self) -> float:
        """Of 100; a stage with nothing to do is done."""
        return 100 * min(self.done, self.total) / self.total if self.total else 0.0

    @property
    def failed_share(self) -> float:
        """Of 100."""
        return 100 * min(self.failed, self.total) / self.total if self.total else 0.0


def stages(run: Run) -> list[StageProgress]:
    """The stages in the order in which a family passes through them."""
    documents, families, images = run.documents, run.families, run.images
    wanted = max(run.manifest.new + run.manifest.changed, documents.fetched + documents.unchanged + documents.failed)
    seconds = None if run.finished_at is not None else run.duration_seconds
    over = run.finished_at is not None
    return [
        _stage("Documents", documents.fetched + documents.unchanged, documents.failed, wanted, seconds, over=over),
        _stage(
            "Families", families.completed, families.failed + families.cancelled, families.total, seconds, over=over
        ),
        _stage(
            "Pictures",
            images.uploaded + images.deduplicated,
            images.failed + images.cancelled,
            images.total,
            seconds,
            over=over,
        ),
    ]


def _stage(name: str, good: int, bad: int, total: int, seconds: float | None, *, over: bool) -> StageProgress:
    done = good + bad
    a_second = done / seconds if seconds and done else None
    left = max(0, total - done)
    left_s = left / a_second if a_second and left and not over else None
    return StageProgress(name, done, bad, total, a_second, left_s)
