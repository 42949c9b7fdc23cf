"""What happened in a soak, and how it is told."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.report import Figure, Section, Table

KILL_EVERY_S = 60.0


@dataclass
class Course:
    """What happened meanwhile."""

    ends: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    unexplained: int = 0
    """Runs that ended neither as completed nor with an error that is one of FAULTS."""
    asked_of_origin: int = 0
    failed_by_origin: int = 0
    kills: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    events: int = 0
    listeners: int = 0
    looks: list[dict[str, float]] = field(default_factory=list)


def section_of(course: Course, store: list[int], seconds: float, *, differing: int, rows: int) -> Section:
    """The section of a course; `store` is how many requests it got, and how many of them failed."""
    return Section(
        "Everything at once",
        f"{seconds / 60:g} minutes: 3 suppliers of 40 families; in each round five documents change, go or return, and "
        f"all suppliers are synced; origin and store fail as often as counted here, a worker is killed every "
        f"{KILL_EVERY_S:g} s.",
        [
            Table(["what", "how often"], [[name, str(number)] for name, number in _happened(course, store)]),
            Table(["what is held", "first quarter", "last quarter", "most"], _held(course.looks), "Medians"),
        ],
        [
            Figure("soak", "variants that differ from a fresh sync", f"{differing} of {rows}", "0", differing == 0),
            Figure(
                "soak",
                "runs that did not complete and name none of the faults",
                f"{course.unexplained} of {course.ends.total()}",
                "0",
                course.unexplained == 0,
            ),
        ],
        [f"error of a run, {number} x: {error}" for error, number in course.errors.most_common(5)],
    )


def _happened(course: Course, store: list[int]) -> list[tuple[str, int]]:
    happened = [(f"runs {status}", number) for status, number in sorted(course.ends.items())]
    happened += [(f"changes: {name}", number) for name, number in sorted(course.changes.items())]
    return [
        *happened,
        ("workers killed", course.kills),
        ("requests to the origin", course.asked_of_origin),
        ("of them failed by a fault", course.failed_by_origin),
        ("requests to the store", store[0]),
        ("of them failed", store[1]),
        ("events heard", course.events),
        ("streams that broke", course.listeners),
    ]


def _held(looks: Sequence[dict[str, float]]) -> list[list[str]]:
    quarter = max(1, len(looks) // 4)
    names = dict.fromkeys(name for look in looks for name in look)
    return [[name, *(f"{value:,.0f}" for value in _of_course(looks, quarter, name))] for name in names]


def _of_course(looks: Sequence[dict[str, float]], quarter: int, name: str) -> tuple[float, float, float]:
    """The medians of the first and the last quarter, and the most."""
    return (
        _median(looks[:quarter], name),
        _median(looks[-quarter:], name),
        max(look.get(name, 0.0) for look in looks),
    )


def _median(looks: Sequence[dict[str, float]], name: str) -> float:
    return statistics.median([look[name] for look in looks if name in look] or [0.0])
