"""When a supplier is synced next: a five-field cron expression in a time zone. Pure.

Where clocks are put forward, a time that does not exist runs right after the gap, several of them once; where they are
put back, a time that exists twice runs once. Only a schedule that names every hour of the day is a rhythm: it runs
whenever the clock shows one of its minutes, so that an hourly run stays hourly through both nights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

FIELDS = 5
HOUR_FIELD = 1
HOURS_A_DAY = 24


def next_run(schedule: str, time_zone: str, after: datetime) -> datetime:
    """The first time after `after` that the schedule names, in UTC.

    >>> next_run("30 3 * * *", "Europe/Amsterdam", datetime(2026, 1, 5, tzinfo=UTC)).isoformat()
    '2026-01-05T02:30:00+00:00'

    Raises:
        ValueError: the schedule or the zone makes no sense, or never comes round; says which and why.
    """
    zone = find_zone(time_zone)
    fields = schedule.split()
    if len(fields) != FIELDS:
        raise ValueError(f"{schedule!r} is not a cron expression of five fields, such as '30 3 * * *'")
    try:
        # asked in the hour that a clock put back goes through again, times of its first round are named, too
        return next(found for found in _instants(fields, after.astimezone(zone)) if found > after)
    except CronSimError as error:
        raise ValueError(f"{schedule!r} is not a cron expression: {error}") from None
    except StopIteration:
        raise ValueError(f"{schedule!r} names a time that never comes") from None


def _instants(fields: Sequence[str], local: datetime) -> Iterator[datetime]:
    """The schedule's times in UTC, in order, from about `local` on; may begin before it."""
    # Without a zone cronsim knows of no clock change: with one it knows Debian's rules, which look at how the minutes
    # are written (`*/30 2` runs by other rules than `0,30 2`).
    by_the_wall = CronSim(" ".join(fields), local.replace(tzinfo=None))
    if len(by_the_wall.hours) < HOURS_A_DAY:
        return (_first_instant(time, local) for time in by_the_wall)
    hourly = [*fields[:HOUR_FIELD], "*", *fields[HOUR_FIELD + 1 :]]
    return (time.astimezone(UTC) for time in CronSim(" ".join(hourly), local))


def _first_instant(wall: datetime, local: datetime) -> datetime:
    """When clocks at that place first show this time or, where a gap passes it over, the first one after the gap."""
    while True:
        instant = wall.replace(tzinfo=local.tzinfo).astimezone(UTC)
        if instant.astimezone(local.tzinfo).replace(tzinfo=None) == wall:
            return instant
        wall += timedelta(minutes=1)


def next_runs(schedule: str, time_zone: str, after: datetime, number: int) -> list[datetime]:
    """The next so many times after `after` that the schedule names, in UTC; none for an empty one.

    Raises:
        ValueError: the schedule or the zone makes no sense, or never comes round; says which and why.
    """
    times: list[datetime] = []
    while schedule and len(times) < number:
        times.append(next_run(schedule, time_zone, times[-1] if times else after))
    return times


_OF_THE_MACHINE = re.compile(r"(localtime|posixrules|Factory)$|(posix|right)/")
"""Files beside the zones: what this machine is set to, which another may not be, and zones that count leap seconds."""


def find_zone(time_zone: str) -> ZoneInfo:
    """The time zone of that IANA name.

    Raises:
        ValueError: there is none.
    """
    with suppress(ZoneInfoNotFoundError, ValueError, OSError):
        if not _OF_THE_MACHINE.match(time_zone):
            return ZoneInfo(time_zone)
    raise ValueError(f"{time_zone!r} is not a time zone, such as 'Europe/Amsterdam'")
