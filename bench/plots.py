"""What a part wants drawn: labels, values and their unit, measured in the same run as its tables; drawing.py draws it.

part ─▶ Plot (values) ─▶ Section ─▶ an SVG file beside the report, which shows it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from app.jobs.definitions import QUEUES

Kind = Literal["bars", "stacked", "lines"]


@dataclass(frozen=True)
class Plot:
    """Series of values, each of them with a value for each label."""

    name: str
    """Of its file, behind the report's own."""
    title: str
    unit: str
    """What the values are, with their unit."""
    labels: Sequence[str]
    series: Mapping[str, Sequence[float | None]]
    """None where there is none."""
    kind: Kind = "bars"
    """`stacked` bars lie, and those of a label add up."""
    along: str = ""
    """What the labels are, below them; not for lying bars, whose labels have room for it."""
    logarithmic: bool = False


def by_program(title: str, costs: Mapping[str, Mapping[str, float]], *, name: str, unit: str) -> Plot:
    """A bar for each label, made of what each program used; workers of one queue are one."""
    summed = {label: _summed(of_label) for label, of_label in costs.items()}
    programs = dict.fromkeys(program for of_label in summed.values() for program in of_label)
    series = {program: [of_label.get(program, 0.0) for of_label in summed.values()] for program in programs}
    return Plot(name, title, unit, list(summed), series, "stacked")


def _summed(costs: Mapping[str, float]) -> dict[str, float]:
    """By program: the second worker of a queue is named for it, with a number."""
    found: dict[str, float] = {}
    for name, cost in costs.items():
        program = next((queue for queue in QUEUES if name.startswith(queue)), name)
        found[program] = found.get(program, 0.0) + cost
    return found
