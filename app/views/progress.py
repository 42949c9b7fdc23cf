"""How far a run is: its three stages, how fast they go, and how long they still take. Pure."""

from __future__ import annotations

import msgspec

from app.views.runs import Run

DAY_S = 86_400


class StageProgress(msgspec.Struct, frozen=True):
    """One stage of a run."""

    name: str
    done: int
    """Of them, `failed` failed."""
    failed: int
    total: int
    a_second: float | None
    """Since the run began; None before that, when nothing is done, and when the run is over."""
    left_s: float | None
    """Seconds to its end at this speed; None where that cannot be said, or nothing is left."""

    @property
    def share(self) -> float:
        """Of 100; of a stage with nothing to do 0."""
        return 100 * min(self.done, self.total) / self.total if self.total else 0.0

    @property
    def failed_share(self) -> float:
        """Of 100."""
        return 100 * min(self.failed, self.total) / self.total if self.total else 0.0


def stages(run: Run) -> list[StageProgress]:
    """The stages in the order in which a family passes through them.

    Documents that changed nothing (`unchanged`) are among those that were fetched.
    """
    documents, families, images = run.documents, run.families, run.images
    wanted = max(run.manifest.new + run.manifest.changed, documents.fetched + documents.failed)
    seconds = None if run.finished_at is not None else run.duration_seconds
    return [
        _stage("Documents", documents.fetched, documents.failed, wanted, seconds),
        _stage("Families", families.completed, families.failed + families.cancelled, families.total, seconds),
        _stage(
            "Pictures",
            images.uploaded + images.deduplicated,
            images.failed + images.cancelled,
            images.total,
            seconds,
        ),
    ]


def _stage(name: str, good: int, bad: int, total: int, seconds: float | None) -> StageProgress:
    done = good + bad
    a_second = done / seconds if seconds and done else None
    left = max(0, total - done)
    left_s = left / a_second if a_second and left else None
    return StageProgress(name, done, bad, total, a_second, left_s)


def duration(seconds: float | None) -> str:
    """A length of time in its two largest units: 2 min 34 s.

    >>> [duration(seconds) for seconds in (None, 0.21, 154.2, 7300, 200000)]
    ['–', '0.2 s', '2 min 34 s', '2 h 1 min', '2 d 7 h']
    """
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, small, below in ((DAY_S, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // small} {below}"
    return f"{whole} s"
