"""What the minutes came to, as bars that the server draws: from spans to SVG's paths and to a table. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from app.dashboard.wording import counted, number
from app.persistence.minutes import QueueSpan
from app.views.progress import duration

HEIGHT, STEP, BAR = 100, 10, 8
"""Of the drawing, of its own units; the page stretches it."""


class Window(msgspec.Struct, frozen=True):
    """How far back a chart looks, and how long each of its bars is; in seconds."""

    said: str
    span_s: int
    bar_s: int

    @property
    def last(self) -> str:
        """The window at the end of a sentence: the last hour, the last 6 hours."""
        return f"the last {self.said.removeprefix('1 ')}"


WINDOWS = {
    "1h": Window("1 hour", 3_600, 60),
    "6h": Window("6 hours", 6 * 3_600, 300),
    "24h": Window("24 hours", 86_400, 1_200),
    "14d": Window("14 days", 14 * 86_400, 4 * 3_600),
}
USUAL = "6h"


class Row(msgspec.Struct, frozen=True):
    """A bar's figures, for those who read rather than look."""

    at: datetime
    cells: Sequence[str]


class Chart(msgspec.Struct, frozen=True):
    """One drawing: `good` and `bad` are paths, the one standing on the other."""

    id: str
    title: str
    said: str
    """What there is to see, in a sentence."""
    most: str
    """What the highest bar stands for."""
    width: int
    good: str
    bad: str
    begins: datetime
    ends: datetime
    head: Sequence[str]
    rows: Sequence[Row]


def charts_of(spans: Iterable[QueueSpan], window: Window, now: datetime, name: str) -> list[Chart]:
    """The two charts of some queues together: what was done, and what waited; `name` makes their ids their own."""
    bars = _bars(spans, window, now)
    return [_throughput(bars, window, name), _waiting(bars, window, name)]


def by_queue(spans: Iterable[QueueSpan]) -> Mapping[str, list[QueueSpan]]:
    """The spans of each queue."""
    found: defaultdict[str, list[QueueSpan]] = defaultdict(list)
    for span in spans:
        found[span.queue].append(span)
    return found


def _bars(spans: Iterable[QueueSpan], window: Window, now: datetime) -> list[QueueSpan]:
    """One a bar from the beginning of the window on, of nothing where no minute was written."""
    last_s = int(now.timestamp()) // window.bar_s * window.bar_s
    found: dict[int, QueueSpan] = {}
    for span in spans:
        at_s = int(span.at.timestamp())
        found[at_s] = _both(found[at_s], span) if at_s in found else span
    places = range(last_s - window.span_s + window.bar_s, last_s + 1, window.bar_s)
    return [found.get(at_s) or QueueSpan("", datetime.fromtimestamp(at_s, UTC), 0, 0, 0, 0.0) for at_s in places]


def _both(one: QueueSpan, other: QueueSpan) -> QueueSpan:
    return QueueSpan(
        "",
        one.at,
        one.done + other.done,
        one.failed + other.failed,
        one.waiting + other.waiting,
        max(one.oldest_s, other.oldest_s),
    )


def _throughput(bars: Sequence[QueueSpan], window: Window, name: str) -> Chart:
    most = max(bar.done + bar.failed for bar in bars)
    done, failed = sum(bar.done for bar in bars), sum(bar.failed for bar in bars)
    peak = most * 60 / window.bar_s
    return _chart(
        bars,
        window,
        (
            f"{name}-done",
            "Jobs done a minute",
            f"at most {number(peak) if peak >= 10 else f'{peak:.1f}'}",
            f"{counted(done, 'job', 'jobs')} done and {number(failed)} failed in {window.last}.",
        ),
        [(bar.done / most, bar.failed / most) if most else (0.0, 0.0) for bar in bars],
        (("Done", "Failed"), [(number(bar.done), number(bar.failed)) for bar in bars]),
    )


def _waiting(bars: Sequence[QueueSpan], window: Window, name: str) -> Chart:
    """Looked at once a minute: what came and went in between is seen by nobody, and the words claim no more."""
    most = max(bar.waiting for bar in bars)
    oldest_s = max(bar.oldest_s for bar in bars)
    found = f"at most {counted(most, 'job', 'jobs')} waited, the longest for {duration(oldest_s)}"
    return _chart(
        bars,
        window,
        (
            f"{name}-waiting",
            "Jobs waiting at the end of each minute",
            f"at most {number(most)}",
            f"At the end of each minute of {window.last}, {found if most else 'no job waited'}.",
        ),
        [(bar.waiting / most, 0.0) if most else (0.0, 0.0) for bar in bars],
        (("Waiting", "Oldest"), [(number(bar.waiting), duration(bar.oldest_s)) for bar in bars]),
    )


def _chart(
    bars: Sequence[QueueSpan],
    window: Window,
    titles: tuple[str, str, str, str],
    shares: Sequence[tuple[float, float]],
    table: tuple[Sequence[str], Sequence[Sequence[str]]],
) -> Chart:
    name, title, most, said = titles
    head, cells = table
    told = [Row(bar.at, row) for bar, row in zip(bars, cells, strict=True) if bar.done or bar.failed or bar.waiting]
    return Chart(
        id=name,
        title=title,
        said=said,
        most=most,
        width=len(bars) * STEP,
        good="".join(_bar(at, 0.0, good) for at, (good, _) in enumerate(shares)),
        bad="".join(_bar(at, good, bad) for at, (good, bad) in enumerate(shares)),
        begins=bars[0].at,
        ends=bars[-1].at + timedelta(seconds=window.bar_s),
        head=head,
        rows=told,
    )


def _bar(at: int, low: float, share: float) -> str:
    """A bar on top of what reaches up to `low`; one that is not nothing can be seen.

    >>> _bar(2, 0.5, 0.25)
    'M20 50v-25h8v25z'
    """
    if not share:
        return ""
    height = max(1, round(HEIGHT * share))
    return f"M{at * STEP} {HEIGHT - round(HEIGHT * low)}v-{height}h{BAR}v{height}z"
