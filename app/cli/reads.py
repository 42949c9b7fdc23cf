"""`promidata-sync runs` and `stats`: what the ledger says."""

from __future__ import annotations

from uuid import UUID

from rich.box import SIMPLE_HEAD
from rich.table import Table

from app.api.run_models import Run, RunProblem, run_out
from app.cli.follow import read_runs
from app.cli.run_tables import problems_table, runs_table, summary_table
from app.cli.surroundings import with_services
from app.cli.telling import Teller, own_name, tell_json
from app.errors import NotFound
from app.jobs.definitions import QUEUES
from app.logs import mask_address
from app.persistence import reading_jobs, reading_runs
from app.persistence.reading_jobs import QueueNumbers
from app.sync.services import Services

STATES = ("waiting", "active", "delayed", "completed", "failed")
KEYS = {"supplier-sync": "supplierSync", "product-family": "productFamily", "image-upload": "imageUpload"}


def show_runs(*, supplier: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """Print the newest runs.

    Raises:
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def read(services: Services) -> list[Run]:
        async with services.database.read() as db:
            rows = await reading_runs.list_runs(db, supplier=supplier, status=status, after=None, limit=limit)
        return [run_out(services.settings, row) for row in rows]

    runs = with_services(read)
    if as_json:
        tell_json([run.model_dump(mode="json", by_alias=True) for run in runs])
    elif runs:
        Teller().show(runs_table(runs))
    else:
        Teller().say(f"no runs; start one with `{own_name()} sync`")


def show_run(run_id: str, *, limit: int, as_json: bool) -> None:
    """Print one run and what went wrong in it.

    Raises:
        NotFound: there is no such run.
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def read(services: Services) -> tuple[Run, list[RunProblem]]:
        (run,) = await read_runs(services, [_uuid(run_id)])
        async with services.database.read() as db:
            rows = await reading_runs.list_problems(db, run.id, severity=None, stage=None, after_id=0, limit=limit)
        return run, [_problem(row) for row in rows]

    run, problems = with_services(read)
    if as_json:
        shown = [problem.model_dump(mode="json", by_alias=True) for problem in problems]
        tell_json({**run.model_dump(mode="json", by_alias=True), "problems": shown})
        return
    teller = Teller()
    teller.show(summary_table([run]))
    if run.error:
        teller.say(f"error: {run.error}")
    if problems:
        teller.show(problems_table(problems))


def _problem(row: reading_runs.ProblemRow) -> RunProblem:
    url = None if row.url is None else mask_address(row.url)
    return RunProblem.model_validate(
        {**{name: getattr(row, name) for name in row.__struct_fields__ if name != "id"}, "url": url}
    )


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise NotFound(f"there is no run {text}; `promidata-sync runs` lists them") from None


def show_stats(*, as_json: bool) -> None:
    """Print how many jobs each queue has by state; the JSON is what `GET /api/v1/queues/stats` answers.

    Raises:
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def read(services: Services) -> dict[str, QueueNumbers]:
        async with services.database.read() as db:
            return await reading_jobs.count_jobs(db, QUEUES)

    numbers = with_services(read)
    if as_json:
        tell_json({KEYS[name]: _stats(numbers[name]) for name in QUEUES})
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("queue", no_wrap=True)
    for state in (*STATES, "total"):
        table.add_column(state, justify="right")
    for name in QUEUES:
        stats = _stats(numbers[name])
        paused = " (paused)" if numbers[name].paused else ""
        table.add_row(f"{name}{paused}", *[str(stats[state]) for state in (*STATES, "total")])
    Teller().show(table)


def _stats(numbers: QueueNumbers) -> dict[str, object]:
    counts = {state: numbers.states.get(state, 0) for state in STATES}
    return {"queueName": numbers.name, **counts, "total": sum(counts.values()), "paused": numbers.paused}
