"""What operators do to jobs and queues: `jobs`, `retry`, `cancel`, `confirm`, `delete`, `pause`, `resume`.

    what was typed ─▶ queue names in full ─▶ queue_verbs ─▶ app/sync/operating/by_hand.py, as the API does

A job's id says enough: the ledger knows its queue.
"""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.exits import EPILOG
from app.jobs.definitions import QUEUE_OF, QUEUES, QueueName
from app.states import JobState

queue_app = typer.Typer(help="Jobs and queues.", epilog=EPILOG)


def read_queue(text: str) -> QueueName:
    """A queue by its name, or by its short form.

    Raises:
        typer.BadParameter: there is no such queue; names those that there are.
    """
    word = text.strip().lower()
    found = next((queue for stage, queue in QUEUE_OF.items() if word in {stage, queue}), None)
    if found is None:
        raise typer.BadParameter(f"there is no queue {text}: {', '.join(QUEUE_OF)}, or in full {', '.join(QUEUES)}")
    return found


Json = Annotated[bool, typer.Option("--json", help="One JSON document, for scripts.")]
Queue = Annotated[
    str,
    typer.Argument(
        parser=read_queue,
        metavar="QUEUE",
        autocompletion=lambda: list(QUEUE_OF),
        help="supplier, family or image, or its name in full.",
    ),
]
JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="A job of any queue.")]


@queue_app.command(epilog=EPILOG)
def jobs(
    queue: Queue,
    *,
    state: Annotated[JobState | None, typer.Option(help="Only those in this state.")] = None,
    run: Annotated[str | None, typer.Option(help="Only this run's.")] = None,
    supplier: Annotated[str | None, typer.Option(help="Only this supplier's: a code or documentId.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 20,
    json: Json = False,
) -> None:
    """List a queue's jobs, the newest first."""
    from app.cli.queue_verbs import show_jobs
    from app.persistence.job_lists import JobFilter

    show_jobs(JobFilter(queue, state, run, supplier), limit=limit, as_json=json)


@queue_app.command(epilog=EPILOG)
def retry(
    which: Annotated[str | None, typer.Argument(metavar="JOB_ID | QUEUE", help="A QUEUE goes with --failed.")] = None,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="All failed jobs of QUEUE, or of all queues.")] = False,
    json: Json = False,
) -> None:
    """Let a failed job, or all of them, wait again with all attempts. Jobs of cancelled runs are left alone."""
    from app.cli.queue_verbs import retry_all, retry_one

    if failed:
        retry_all(QUEUES if which is None else (read_queue(which),), as_json=json)
    elif which is None:
        raise typer.BadParameter("name a failed job, or say --failed for all of them", param_hint="JOB_ID")
    else:
        retry_one(which, as_json=json)


@queue_app.command(epilog=EPILOG)
def cancel(
    which: Annotated[str, typer.Argument(metavar="RUN_ID | JOB_ID", help="A run or a job that is not over.")],
    *,
    json: Json = False,
) -> None:
    """Cancel a run or a job: nothing of it is started any more, what runs stops. A supplier's job is its run."""
    from app.cli.queue_verbs import cancel as cancel_it

    cancel_it(which, as_json=json)


@queue_app.command(epilog=EPILOG)
def confirm(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="A run whose guard held removals back.")],
    *,
    json: Json = False,
) -> None:
    """Allow what a run's guard held back to be removed: from that one manifest, by a new run."""
    from app.cli.queue_verbs import confirm as confirm_it

    confirm_it(run_id, as_json=json)


@queue_app.command(epilog=EPILOG)
def delete(job_id: JobId, *, json: Json = False) -> None:
    """Delete a job that is over; its run's counters stay."""
    from app.cli.queue_verbs import delete as delete_it

    delete_it(job_id, as_json=json)


@queue_app.command(epilog=EPILOG)
def pause(queue: Queue, *, json: Json = False) -> None:
    """Let no worker start a job of the queue. What runs goes on; the pause survives restarts."""
    from app.cli.queue_verbs import set_paused

    set_paused(queue, paused=True, as_json=json)


@queue_app.command(epilog=EPILOG)
def resume(queue: Queue, *, json: Json = False) -> None:
    """Let workers start the queue's jobs again, at once."""
    from app.cli.queue_verbs import set_paused

    set_paused(queue, paused=False, as_json=json)
