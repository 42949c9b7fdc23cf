"""What the minutes came to, as bars: each in its place, none lost, and the same in words and in a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.dashboard.charts import BAR, HEIGHT, STEP, WINDOWS, charts_of
from app.persistence.minutes import QueueSpan

NOW = datetime(2026, 1, 5, 3, 2, 35, tzinfo=UTC)
HOUR = WINDOWS["1h"]


def span(minutes_ago: int, **figures: float) -> QueueSpan:
    at = NOW.replace(second=0) - timedelta(minutes=minutes_ago)
    values = {"done": 0, "failed": 0, "waiting": 0, "oldest_s": 0.0} | figures
    return QueueSpan("image-upload", at, **values)  # type: ignore[arg-type]


def test_a_bar_stands_where_its_time_is_and_what_failed_stands_on_what_was_done() -> None:
    done, waiting = charts_of([span(59, done=30, failed=10), span(0, done=20, waiting=7, oldest_s=90)], HOUR, NOW, "x")
    assert done.good == f"M0 {HEIGHT}v-75h{BAR}v75zM{59 * STEP} {HEIGHT}v-50h{BAR}v50z"
    assert done.bad == f"M0 25v-25h{BAR}v25z"
    assert (done.said, done.most) == ("50 jobs done and 10 failed in the last hour.", "at most 40")
    assert [(row.at, row.cells) for row in done.rows] == [
        (NOW.replace(second=0) - timedelta(minutes=59), ("30", "10")),
        (NOW.replace(second=0), ("20", "0")),
    ]
    assert waiting.said == (
        "At the end of each minute of the last hour, at most 7 jobs waited, the longest for 1 min 30 s."
    )
    assert waiting.good == f"M{59 * STEP} {HEIGHT}v-100h{BAR}v100z"


@pytest.mark.parametrize("name", WINDOWS)
def test_each_window_has_its_bars_and_nothing_draws_nothing(name: str) -> None:
    window = WINDOWS[name]
    for chart in charts_of([], window, NOW, "x"):
        assert (chart.good, chart.bad, list(chart.rows)) == ("", "", [])
        assert chart.width == window.span_s // window.bar_s * STEP
        assert chart.ends - chart.begins == timedelta(seconds=window.span_s)
        assert chart.begins <= NOW < chart.ends


def test_queues_together_add_up_and_what_is_little_beside_much_is_still_seen() -> None:
    spans = [span(1, done=100_000), span(1, done=100_000), span(0, done=1)]
    chart = charts_of(spans, HOUR, NOW, "x")[0]
    assert chart.rows[0].cells == ("200 000", "0")
    assert chart.good.endswith(f"M{59 * STEP} {HEIGHT}v-1h{BAR}v1z")


def test_one_job_is_a_job_and_where_none_was_met_nothing_is_said_of_what_was_not_looked_at() -> None:
    done, waiting = charts_of([span(0, done=1, waiting=1, oldest_s=2)], HOUR, NOW, "x")
    assert done.said == "1 job done and 0 failed in the last hour."
    assert waiting.title == "Jobs waiting at the end of each minute"
    assert waiting.said == "At the end of each minute of the last hour, at most 1 job waited, the longest for 2.0 s."
    assert charts_of([], WINDOWS["6h"], NOW, "x")[1].said == (
        "At the end of each minute of the last 6 hours, no job waited."
    )
