"""When a supplier is synced next, across the nights on which clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.catalogue.schedule import next_run

AMSTERDAM = "Europe/Amsterdam"
SPRING = datetime(2026, 3, 28, 12, tzinfo=UTC)
"""On the 29th 02:00 becomes 03:00, at 01:00 UTC."""
AUTUMN = datetime(2026, 10, 24, 12, tzinfo=UTC)
"""On the 25th 03:00 becomes 02:00, at 01:00 UTC."""


def times(schedule: str, after: datetime, count: int, zone: str = AMSTERDAM) -> list[str]:
    found = []
    for _ in range(count):
        after = next_run(schedule, zone, after)
        found.append(after.strftime("%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("30 3 * * *", SPRING, ["29 01:30", "30 01:30"]),
        ("30 3 * * *", AUTUMN, ["25 02:30", "26 02:30"]),
        ("30 2 * * *", SPRING, ["29 01:00", "30 00:30"]),  # 02:30 does not exist: right after the gap
        ("30 2 * * *", AUTUMN, ["25 00:30", "26 01:30"]),  # 02:30 exists twice: once
        ("0 3 * * *", SPRING, ["29 01:00", "30 01:00"]),
        ("0 3 * * *", AUTUMN, ["25 02:00", "26 02:00"]),
        ("0 0-5 * * *", SPRING, ["28 23:00", "29 00:00", "29 01:00", "29 02:00", "29 03:00", "29 22:00"]),
        ("30 23 * * 0", AUTUMN, ["25 22:30", "01 22:30"]),
        ("0 0 1 1 *", SPRING, ["31 23:00", "31 23:00"]),
    ],
)
def test_each_night_has_its_run_once_whatever_clocks_do(schedule: str, after: datetime, expected: list[str]) -> None:
    assert times(schedule, after, len(expected)) == expected


@pytest.mark.parametrize("minutes", ["*/30", "*/15", "*", "0,30", "0-59/15", "30"])
@pytest.mark.parametrize("hours", ["2", "2-2", "2/24"])
def test_times_of_a_skipped_hour_run_once_right_after_it_however_they_are_written(minutes: str, hours: str) -> None:
    assert times(f"{minutes} {hours} * * *", SPRING, 1) == ["29 01:00"]
    assert times(f"{minutes} {hours} * * *", SPRING, 2)[1] == ("30 00:30" if minutes == "30" else "30 00:00")


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("*/30 2 * * *", ["25 00:00", "25 00:30", "26 01:00"]),
        ("*/15 2 * * *", ["25 00:00", "25 00:15", "25 00:30", "25 00:45", "26 01:00"]),
        ("*/30 2-3 * * *", ["25 00:00", "25 00:30", "25 02:00", "25 02:30", "26 01:00"]),
        ("0 */2 * * *", ["24 14:00", "24 16:00", "24 18:00", "24 20:00", "24 22:00", "25 00:00", "25 03:00"]),
        (
            "30 */2 * * *",
            ["24 12:30", "24 14:30", "24 16:30", "24 18:30", "24 20:30", "24 22:30", "25 00:30", "25 03:30"],
        ),
    ],
)
def test_each_time_of_a_repeated_hour_runs_once(schedule: str, expected: list[str]) -> None:
    assert times(schedule, AUTUMN, len(expected)) == expected


@pytest.mark.parametrize(
    ("schedule", "zone", "after", "expected"),
    [
        ("*/20 2 * * *", "America/New_York", datetime(2026, 3, 8, tzinfo=UTC), ["08 07:00", "09 06:00"]),
        ("*/20 1 * * *", "America/New_York", datetime(2026, 11, 1, tzinfo=UTC), ["01 05:00", "01 05:20", "01 05:40"]),
        # half an hour: 02:00 becomes 02:30, and 02:00 becomes 01:30
        ("*/15 2 * * *", "Australia/Lord_Howe", datetime(2026, 10, 3, 12, tzinfo=UTC), ["03 15:30", "03 15:45"]),
        (
            "*/15 1 * * *",
            "Australia/Lord_Howe",
            datetime(2026, 4, 4, 13, tzinfo=UTC),
            ["04 14:00", "04 14:15", "04 14:30"],
        ),
        # at midnight: 00:00 becomes 01:00 on a Friday, and 24:00 becomes 23:00 on a Thursday
        ("*/30 0 * * 5", "Africa/Cairo", datetime(2026, 4, 23, 12, tzinfo=UTC), ["23 22:00", "30 21:00"]),
        ("30 23 * * 4", "Africa/Cairo", datetime(2026, 10, 29, 12, tzinfo=UTC), ["29 20:30", "05 21:30"]),
        # a day that never was
        ("*/10 3 30 12 *", "Pacific/Apia", datetime(2011, 12, 29, 12, tzinfo=UTC), ["30 10:00", "29 13:00"]),
    ],
)
def test_gaps_and_repetitions_of_any_zone(schedule: str, zone: str, after: datetime, expected: list[str]) -> None:
    assert times(schedule, after, len(expected), zone) == expected


@pytest.mark.parametrize("hours", ["*", "*/1", "0-23", "0-11,12-23"])
@pytest.mark.parametrize("start", [SPRING, AUTUMN])
def test_every_hour_is_every_hour_of_real_time(start: datetime, hours: str) -> None:
    found, after = [], start
    for _ in range(36):
        after = next_run(f"0 {hours} * * *", AMSTERDAM, after)
        found.append(after)
    assert found == [start + timedelta(hours=hour) for hour in range(1, 37)]


@pytest.mark.parametrize("minute", [0, 1, 10, 29, 30, 59])
def test_a_time_that_was_missed_in_the_doubled_hour_is_not_planned_into_the_past(minute: int) -> None:
    """A worker that starts at 02:10 the second time plans tomorrow's run, not the one of the first 02:30."""
    doubled = datetime(2026, 10, 25, 1, minute, tzinfo=UTC)
    assert next_run("30 2 * * *", AMSTERDAM, doubled) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


@given(
    after_minutes=st.integers(0, 2 * 365 * 24 * 60),
    minute=st.integers(0, 59),
    hour=st.sampled_from(["*", "*/2", "0", "1", "2", "3", "1-4", "2,3", "23"]),
    zone=st.sampled_from([AMSTERDAM, "UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_the_next_time_is_always_after_and_within_two_days(
    after_minutes: int, minute: int, hour: str, zone: str
) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=after_minutes)
    found = next_run(f"{minute} {hour} * * *", zone, moment)
    assert moment < found <= moment + timedelta(days=2)


@pytest.mark.parametrize(
    ("schedule", "zone"),
    [
        ("30 3 * *", "UTC"),
        ("0 30 3 * * *", "UTC"),
        ("60 3 * * *", "UTC"),
        ("@daily", "UTC"),
        ("", "UTC"),
        ("0 0 30 2 *", "UTC"),
        ("30 3 * * *", "Mars/Olympus"),
        ("30 3 * * *", "../../etc/passwd"),
        ("30 3 * * *", ""),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(schedule: str, zone: str) -> None:
    with pytest.raises(ValueError, match=r"five fields|cron expression|never comes|time zone"):
        next_run(schedule, zone, SPRING)
