"""`promidata-sync runs` and `stats`: what the ledger says."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table

from app.cli.named import know_supplier, read_runs
from app.cli.run_tables import guard_lines, problem_lines, repair_lines, run_lines, whole_run
from app.cli.surroundings import with_services
from app.cli.telling import Teller, own_name, tell_json
from app.jobs.definitions import QUEUES, STAGE_OF
from app.persistence import job_lists, run_lists
from app.persistence.job_lists import QueueNumbers
from app.sync.services import Services
from app.views.jobs import all_queue_stats, queue_stats
from app.views.runs import Run, RunProblem, problem_out, run_out
from app.views.shapes import RunStatus, shown_json

STATES = ("waiting", "active", "delayed", "completed", "failed")


def show_runs(*, supplier: str | None, status: RunStatus | None, limit: int, as_json: bool) -> None:
    """Print the newest runs.

    Raises:
        NotFound: there is no such supplier.
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def read(services: Services) -> list[Run]:
        await know_supplier(services, supplier)
        async with services.database.read() as db:
            rows = await run_lists.list_runs(db, supplier=supplier, status=status, after=None, limit=limit)
        return [run_out(services.settings, row) for row in rows]

    runs = with_services(read)
    if as_json:
        tell_json([shown_json(run) for run in runs])
    elif runs:
        teller = Teller()
        for line in (line for run in runs for line in run_lines(run)):
            teller.say(line)
    else:
        Teller().say(f"no runs; start one with `{own_name()} sync`")


def show_run(run_id: str, *, limit: int, as_json: bool) -> None:
    """Print one run and what went wrong in it.

    Raises:
        NotFound: there is no such run.
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def read(services: Services) -> tuple[Run, list[RunProblem]]:
        (run,) = await read_runs(services, [run_id])
        async with services.database.read() as db:
            rows = await run_lists.list_problems(db, run.id, severity=None, stage=None, after_id=0, limit=limit)
        return run, [problem_out(services.settings, row) for row in rows]

    run, problems = with_services(read)
    if as_json:
        shown = [shown_json(problem) for problem in problems]
        tell_json({**shown_json(run), "problems": shown})
        return
    teller = Teller()
    for said in run_lines(run):
        teller.say(said)
    said_of = [line for problem in problems for line in problem_lines(problem)]
    for line in (*whole_run(run), *repair_lines(run), *guard_lines(run, own_name()), *said_of):
        teller.say(line)


def show_stats(*, as_json: bool) -> None:
    """Print how many jobs each queue has by state; the JSON is what `GET /api/v1/queues/stats` answers.

    Raises:
        DatabaseUnavailable: it is away; says which address was tried.
    """

    async def read(services: Services) -> dict[str, QueueNumbers]:
        async with services.database.read() as db:
            return await job_lists.count_jobs(db, QUEUES)

    numbers = with_services(read)
    if as_json:
        tell_json(all_queue_stats(numbers).model_dump(by_alias=True))
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("queue", no_wrap=True)
    for state in (*STATES, "total"):
        table.add_column(state, justify="right", overflow="fold")  # a number that is cut is another one
    found = {name: queue_stats(numbers[name]) for name in QUEUES}
    for name, stats in found.items():
        table.add_row(name, *[str(getattr(stats, state)) for state in (*STATES, "total")])
    teller = Teller()
    teller.show(table)
    for name in [name for name, stats in found.items() if stats.paused]:
        teller.say(f"{name} is paused; `{own_name()} resume {STAGE_OF[name]}` lets its jobs start again")
