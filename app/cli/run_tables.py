"""Runs and queues as tables and lines: what a person reads on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from app.cli.telling import in_one_line
from app.sync.operating.dry_run import DryRun
from app.views.progress import StageProgress, duration, stages
from app.views.runs import Run, RunProblem

BAR_WIDTH = 20
LINES_A_RUN = 3
MANIFEST_PARTS = ("entries", "new", "changed", "unchanged", "removed", "invalid")
STYLES = {
    "completed": "green",
    "completed_with_errors": "yellow",
    "failed": "bold red",
    "cancelled": "magenta",
    "running": "cyan",
}


def line_of(run: Run) -> str:
    """How far a run is, in one plain line."""
    if run.status == "queued":
        return f"{run.supplier}: queued"
    return f"{run.supplier}: {run.status}, " + ", ".join(_stage_text(stage) for stage in stages(run))


def _stage_text(stage: StageProgress) -> str:
    speed = " ".join(part for part in (_rate(stage), _left(stage)) if part)
    return f"{stage.name.lower()} {stage.done}/{stage.total}" + (f" ({speed})" if speed else "")


def _rate(stage: StageProgress) -> str:
    return f"{stage.a_second:.1f}/s" if stage.a_second and stage.done < stage.total else ""


def _left(stage: StageProgress) -> str:
    return f"{duration(stage.left_s)} left" if stage.left_s else ""


def live_table(runs: Sequence[Run], rows: int) -> Table:
    """Runs with a bar a stage, its rate and the time that is left; at most `rows`, those under way first."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(overflow="ellipsis")
    for _ in range(5):
        table.add_column(no_wrap=True)
    order = {"running": 0, "cancelling": 0, "queued": 1}
    shown = sorted(runs, key=lambda run: (order.get(run.status, 2), run.supplier))[: max(1, rows // LINES_A_RUN)]
    for run in shown:
        first = [Text(run.supplier), _status(run.status), Text("")]
        for name, stage in zip(first, stages(run), strict=True):
            bar = ProgressBar(total=max(stage.total, 1), completed=stage.done, width=BAR_WIDTH)
            table.add_row(name, stage.name.lower(), bar, f"{stage.done}/{stage.total}", _rate(stage), _left(stage))
    if len(runs) > len(shown):
        table.add_row("", f"and {len(runs) - len(shown)} more")
    return table


def _status(status: str) -> Text:
    return Text(status, style=STYLES.get(status, ""))


def _table(texts: Sequence[str], numbers: Sequence[str], *, padding: int = 1) -> Table:
    """A table by supplier; where the terminal is too narrow it is the supplier's code that is cut."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, padding=(0, padding))
    table.add_column("supplier", overflow="ellipsis")
    for name in texts:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def summary_table(runs: Sequence[Run]) -> Table:
    """What runs did, a line each."""
    table = _table(("status",), ("fetched", "families", "variants", "pictures", "failed", "s"), padding=0)
    for run in runs:
        table.add_row(run.supplier, _status(run.status), *_figures(run))
    return table


def _figures(run: Run) -> list[str]:
    """Variants are those that were written, pictures those that were settled."""
    failed = run.documents.failed + run.families.failed + run.images.failed
    return [
        str(run.documents.fetched),
        str(run.families.completed),
        str(run.variants.created + run.variants.updated),
        str(run.images.uploaded + run.images.deduplicated),
        str(failed),
        "" if run.duration_seconds is None else f"{run.duration_seconds:.1f}",
    ]


def whole_run(run: Run) -> list[str]:
    """All groups of a run's numbers, a line each."""
    groups = {
        "manifest": run.manifest, "documents": run.documents, "families": run.families, "variants": run.variants,
        "pictures": run.images,
    }  # fmt: skip
    return [
        f"    {name:<11}" + ", ".join(f"{count} {kind}" for kind, count in group.model_dump().items())
        for name, group in groups.items()
    ]


def run_lines(run: Run) -> list[Text]:
    """A run in a list, in full: an id that is cut is none, and a table of 80 columns would cut it."""
    seconds = "" if run.duration_seconds is None else f", {run.duration_seconds:.1f} s"
    families, images = run.families, run.images
    parts = ", ".join(
        (
            _settled("families", families.completed, families.failed, families.total),
            _settled("pictures", images.uploaded + images.deduplicated, images.failed, images.total),
        )
    )
    return [
        Text(f"{run.id}  {run.supplier}  ").append(_status(run.status)),
        Text(f"    {run.created_at:%Y-%m-%d %H:%M:%S} by {run.trigger}{seconds}, {parts}"),
        *([Text(f"    {in_one_line(run.error)}")] if run.error else []),
    ]


def _settled(name: str, good: int, failed: int, total: int) -> str:
    """What became of a stage, as the dashboard's list of runs has it.

    >>> _settled("pictures", 258, 12, 270), _settled("families", 4, 0, 4)
    ('pictures 258/270 +12 failed', 'families 4/4')
    """
    return f"{name} {good}/{total}" + (f" +{failed} failed" if failed else "")


def repair_lines(run: Run) -> list[str]:
    """When retries mended a run, whose problems stay listed; nothing where none did."""
    if run.repaired_at is None:
        return []
    return [f"    {'repaired':<11}{run.repaired_at:%Y-%m-%d %H:%M:%S} by retries; its problems are those of before"]


def dry_run_table(looks: Sequence[DryRun]) -> Table:
    """What a sync would do, a line a supplier."""
    table = _table((), MANIFEST_PARTS)
    for look in looks:
        table.add_row(look.supplier, *[str(look.manifest[name]) for name in MANIFEST_PARTS])
    return table


def problem_lines(problem: RunProblem) -> list[str]:
    """What a run could not read, fetch or write: what it was, where, and why; addresses are whole."""
    where = problem.url or problem.sku or ("" if problem.line is None else f"line {problem.line} of the manifest")
    said = (f"{problem.severity} of the {problem.stage} stage: {problem.kind}", f"    {where}", f"    {problem.reason}")
    return [in_one_line(line) for line in said if line.strip()]


def error_lines(run: Run, command: str) -> list[str]:
    """Why a run failed, and what says more; nothing where it did not."""
    return [in_one_line(f"{run.supplier}: {run.error} ({command} runs {run.id} says more)")] if run.error else []


def guard_lines(run: Run, command: str) -> list[str]:
    """What a run's guard held back, and what confirms it; nothing where none tripped."""
    guard = run.guard
    if guard is None:
        return []
    return [
        f"{run.supplier}: the guard held {guard.would_remove} of {guard.active} removals back. Where they are right:",
        f"    {command} confirm {run.id}",
    ]
