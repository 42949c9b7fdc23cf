"""Runs and queues as tables and lines: what a person reads on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from app.cli.telling import in_one_line
from app.sync.operating.dry_run import DryRun
from app.views.runs import Run, RunProblem

BAR_WIDTH = 14
MANIFEST_PARTS = ("entries", "new", "changed", "unchanged", "removed", "invalid")
STYLES = {
    "completed": "green",
    "completed_with_errors": "yellow",
    "failed": "bold red",
    "cancelled": "magenta",
    "running": "cyan",
}


def parts_of(run: Run) -> list[tuple[str, int, int]]:
    """How far a run is: documents, families and pictures, each with how many are done and how many there are."""
    documents, families, images = run.documents, run.families, run.images
    wanted = run.manifest.new + run.manifest.changed
    done = documents.fetched + documents.failed
    settled = images.uploaded + images.deduplicated + images.failed + images.cancelled
    return [
        ("documents", done, max(wanted, done)),
        ("families", families.completed + families.failed + families.cancelled, families.total),
        ("pictures", settled, images.total),
    ]


def line_of(run: Run) -> str:
    """How far a run is, in one plain line."""
    if run.status == "queued":
        return f"{run.supplier}: queued"
    return f"{run.supplier}: {run.status}, " + ", ".join(f"{name} {done}/{of}" for name, done, of in parts_of(run))


def live_table(runs: Sequence[Run], rows: int) -> Table:
    """Runs with bars; at most `rows` of them, those that are under way first."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("supplier", "status", "documents", "", "families", "", "pictures", ""):
        table.add_column(name, no_wrap=True)
    order = {"running": 0, "cancelling": 0, "queued": 1}
    shown = sorted(runs, key=lambda run: (order.get(run.status, 2), run.supplier))[:rows]
    for run in shown:
        cells = [cell for _, done, of in parts_of(run) for cell in (_bar(done, of), f"{done}/{of}")]
        table.add_row(run.supplier, _status(run.status), *cells)
    if len(runs) > len(shown):
        table.add_row("", f"and {len(runs) - len(shown)} more")
    return table


def _bar(done: int, of: int) -> ProgressBar:
    return ProgressBar(total=max(of, 1), completed=done, width=BAR_WIDTH)


def _status(status: str) -> Text:
    return Text(status, style=STYLES.get(status, ""))


def summary_table(runs: Sequence[Run]) -> Table:
    """What runs did, a line each."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("supplier", "status"):
        table.add_column(name, no_wrap=True)
    for name in ("entries", "fetched", "families", "new variants", "changed", "pictures", "stored", "failed", "s"):
        table.add_column(name, justify="right")
    for run in runs:
        table.add_row(run.supplier, _status(run.status), *_figures(run))
    return table


def _figures(run: Run) -> list[str]:
    failed = run.documents.failed + run.families.failed + run.images.failed
    return [
        str(run.manifest.entries),
        str(run.documents.fetched),
        str(run.families.completed),
        str(run.variants.created),
        str(run.variants.updated),
        str(run.images.total),
        str(run.images.uploaded),
        str(failed),
        "" if run.duration_seconds is None else f"{run.duration_seconds:.1f}",
    ]


def run_lines(run: Run) -> list[Text]:
    """A run in a list, in full: an id that is cut is none, and a table of 80 columns would cut it."""
    seconds = "" if run.duration_seconds is None else f", {run.duration_seconds:.1f} s"
    parts = ", ".join(f"{name} {done}/{of}" for name, done, of in parts_of(run)[1:])
    return [
        Text(f"{run.id}  {run.supplier}  ").append(_status(run.status)),
        Text(f"    {run.created_at:%Y-%m-%d %H:%M:%S} by {run.trigger}{seconds}, {parts}"),
        *([Text(f"    {in_one_line(run.error)}")] if run.error else []),
    ]


def dry_run_table(looks: Sequence[DryRun]) -> Table:
    """What a sync would do, a line a supplier."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("supplier", no_wrap=True)
    for name in MANIFEST_PARTS:
        table.add_column(name, justify="right")
    table.add_column("guard")
    for look in looks:
        guard = "" if look.guard is None else f"would hold back {look.guard['wouldRemove']} of {look.guard['active']}"
        table.add_row(look.supplier, *[str(look.manifest[name]) for name in MANIFEST_PARTS], guard)
    return table


def problems_table(problems: Sequence[RunProblem]) -> Table:
    """What a run could not read, fetch or write."""
    table = Table(title="Problems", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("severity", "stage", "kind"):
        table.add_column(name, no_wrap=True)
    for name in ("where", "reason"):
        table.add_column(name, overflow="fold")
    for problem in problems:
        where = problem.url or problem.sku or ("" if problem.line is None else f"line {problem.line}")
        table.add_row(problem.severity, problem.stage, problem.kind, *_texts(where, problem.reason))
    return table


def _texts(*said: str) -> list[Text]:
    return [Text(in_one_line(text)) for text in said]
