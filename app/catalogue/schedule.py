"""When a supplier is synced next: a five-field cron expression in a time zone. Pure.

Where clocks are put forward, a time that does not exist runs right after the gap; where they are put back, a time that
exists twice runs once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

FIELDS = 5


def next_run(schedule: str, time_zone: str, after: datetime) -> datetime:
    """The first time after `after` that the schedule names, in UTC.

    >>> next_run("30 3 * * *", "Europe/Amsterdam", datetime(2026, 1, 5, tzinfo=UTC)).isoformat()
    '2026-01-05T02:30:00+00:00'

    Raises:
        ValueError: the schedule or the zone makes no sense, or never comes round; says which and why.
    """
    zone = find_zone(time_zone)
    if len(schedule.split()) != FIELDS:
        raise ValueError(f"{schedule!r} is not a cron expression of five fields, such as '30 3 * * *'")
    try:
        times = (found.astimezone(UTC) for found in CronSim(schedule, after.astimezone(zone)))
        # asked in the hour that a clock put back goes through again, cronsim also names the time in its first round
        return next(found for found in times if found > after)
    except CronSimError as error:
        raise ValueError(f"{schedule!r} is not a cron expression: {error}") from None
    except StopIteration:
        raise ValueError(f"{schedule!r} names a time that never comes") from None


def find_zone(time_zone: str) -> ZoneInfo:
    """The time zone of that IANA name.

    Raises:
        ValueError: there is none.
    """
    try:
        return ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{time_zone!r} is not a time zone, such as 'Europe/Amsterdam'") from None
