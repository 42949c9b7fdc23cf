"""Write docs/promises.md: each promise, the tests that hold it, the last figure of docs/benchmarks/ that measures it.

docs/promises.toml ─┬▶ is each test still there? ─▶ no: said, exit code 1
                    └▶ + the newest report that has the figure ─▶ docs/promises.md, or with --check: is it current?
"""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "docs" / "promises.toml"
TARGET = ROOT / "docs" / "promises.md"
REPORTS = ROOT / "docs" / "benchmarks"
FIGURE = re.compile(r"\| (?P<id>F\d+[a-z]?) \| (?P<what>[^|]+) \| (?P<measured>[^|]+) \| (?P<goal>[^|]+) \|")
HEAD = """# What is promised, what holds it, what it measures

Written by `make promises` from [promises.toml](promises.toml); `make lint` fails where a test is gone or this is stale.
Figures are the last ones in [benchmarks/](benchmarks/), with their goals; "not measured" is meant as it says.

| promise | held by | last figure |
|---|---|---|
"""


@dataclass(frozen=True)
class Promise:
    """A line of the table."""

    says: str
    tests: tuple[str, ...]
    """`folder/file.py::test_name` below tests/."""
    figures: tuple[str, ...]
    """Ids of figures, such as `F5`."""


def read_promises() -> list[Promise]:
    """The promises as docs/promises.toml has them."""
    found = tomllib.loads(SOURCE.read_text())["promise"]
    return [Promise(item["says"], tuple(item["tests"]), tuple(item.get("figures", ()))) for item in found]


def missing_tests(promises: list[Promise]) -> list[str]:
    """Tests that are named and are not there."""
    return [test for promise in promises for test in promise.tests if not _is_there(test)]


def _is_there(test: str) -> bool:
    path, _, name = test.partition("::")
    file = ROOT / "tests" / path
    return (
        file.exists() and re.search(rf"^(async )?def {re.escape(name)}\(", file.read_text(), re.MULTILINE) is not None
    )


def last_figures() -> dict[str, list[str]]:
    """Each figure's lines in the newest report that has it; reports are named for their days."""
    found: dict[str, list[str]] = {}
    for report in sorted(REPORTS.glob("*.md"), reverse=True):
        lines: dict[str, list[str]] = {}
        for match in FIGURE.finditer(report.read_text()):
            shown = f"{match['what'].strip()}: **{match['measured'].strip()}** (goal {match['goal'].strip()})"
            lines.setdefault(match["id"], []).append(f"[{match['id']}](benchmarks/{report.name}) {shown}")
        found = {**lines, **found}
    return found


def written(promises: list[Promise]) -> str:
    """The page."""
    figures = last_figures()
    return HEAD + "".join(_line(promise, figures) for promise in promises)


def _line(promise: Promise, figures: dict[str, list[str]]) -> str:
    tests = "<br>".join(f"[{test.partition('::')[2]}](../tests/{test.partition('::')[0]})" for test in promise.tests)
    measured = [line for name in promise.figures for line in figures.get(name, [f"{name}: not measured"])]
    return f"| {promise.says} | {tests} | {'<br>'.join(measured)} |\n"


def main(arguments: list[str]) -> int:
    """Write the page, or compare it; returns the exit code."""
    promises = read_promises()
    gone = missing_tests(promises)
    for test in gone:
        print(f"docs/promises.toml names {test}, which is not there", file=sys.stderr)
    page = written(promises)
    if "--check" not in arguments:
        TARGET.write_text(page)
    elif not TARGET.exists() or TARGET.read_text() != page:
        print("docs/promises.md is stale: run `make promises`", file=sys.stderr)
        return 1
    return 1 if gone else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
