"""Tables of runs on a terminal: where it is narrow the supplier's code gives way, never a number or a heading."""

from __future__ import annotations

import pytest
from rich.console import Console
from rich.table import Table

from app.cli.run_tables import dry_run_table, error_lines, live_table, summary_table
from app.sync.operating.dry_run import DryRun
from app.views.runs import RUN, Run

LONG = "LONGCODE" * 8
HEADINGS = ["status", "fetched", "families", "variants", "pictures", "failed", "s"]
FIGURES = ["completed_with_errors", "828", "690", "12345", "8770", "514", "1234.5"]


def a_run(supplier: str) -> Run:
    return Run.model_validate(
        {
            **RUN,
            "supplier": supplier,
            "status": "completed_with_errors",
            "durationSeconds": 1234.5,
            "documents": {"fetched": 828, "unchanged": 0, "failed": 0},
            "families": {"total": 690, "completed": 690, "failed": 0, "cancelled": 0},
            "variants": {**RUN["variants"], "created": 12000, "updated": 345},
            "images": {**RUN["images"], "uploaded": 8770, "deduplicated": 0, "failed": 514},
        }
    )


def words_of(table: Table) -> list[list[str]]:
    """The lines of a table at 80 columns, as words."""
    console = Console(width=80, highlight=False, soft_wrap=True)
    with console.capture() as captured:
        console.print(table)
    return [line.split() for line in captured.get().splitlines()]


@pytest.mark.parametrize("code", ["A360", LONG])
def test_the_closing_table_has_each_number_and_heading_at_80_columns(code: str) -> None:
    heading, _, (shown, *figures) = [words for words in words_of(summary_table([a_run(code)])) if words]
    assert heading[1:] == HEADINGS
    assert figures == FIGURES
    assert shown == code or (shown.endswith("…") and code.startswith(shown[:-1]) and len(shown) > 4)


def test_bars_and_dry_runs_keep_their_numbers_beside_a_long_code() -> None:
    counts = dict.fromkeys(("entries", "new", "changed", "unchanged", "removed", "invalid"), 12345)
    dry = words_of(dry_run_table([DryRun(LONG, counts, None, {})]))
    assert ["12345"] * 6 in [words[1:] for words in dry]
    live = [word for words in words_of(live_table([a_run(LONG)], 20)) for word in words]
    assert {"828/828", "690/690", "completed_with_errors"} <= set(live)


def test_what_a_run_failed_by_is_one_line_that_no_terminal_obeys() -> None:
    failed = a_run("A23").model_copy(update={"error": "it said \x1b[2J\nand more"})
    assert error_lines(failed, "run-it") == [f"A23: it said \\x1b[2J\\nand more (run-it runs {failed.id} says more)"]
    assert error_lines(a_run("A23"), "run-it") == []
