"""The `promidata-sync` command: what can be typed.

    main ─▶ typer ─▶ a command: settings from the environment, else from a running `up` ─▶ ... ─▶ ending.py

Each command imports what it needs when it runs, so that help and the workers' start stay fast.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Annotated, Literal

import typer

from app.cli.catalogue_commands import catalogue_app
from app.cli.charsets import as_text
from app.cli.ending import ending_of
from app.cli.exits import EPILOG, ExitCode
from app.cli.media import media_app
from app.cli.queue_commands import queue_app
from app.cli.supplier_commands import suppliers_app
from app.cli.times import time_option
from app.cli.uncollected import uncollected
from app.cli.webhook_commands import webhooks_app
from app.jobs.definitions import QUEUE_OF
from app.views.shapes import RunStatus

app = typer.Typer(
    name="promidata-sync",
    help="Keeps a PostgreSQL catalogue and an S3/R2 picture store true to a Promidata feed.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
feed = typer.Typer(help="The feed: test the connection, or serve the sample feed.", no_args_is_help=True, epilog=EPILOG)
app.add_typer(feed, name="feed")
app.add_typer(media_app, name="media")
app.add_typer(suppliers_app, name="suppliers")
app.add_typer(webhooks_app, name="webhooks")
app.add_typer(queue_app)
app.add_typer(catalogue_app)

Json = Annotated[bool, typer.Option("--json", help="One JSON document, for scripts.")]
WorkerKind = Literal["supplier", "family", "image", "probe"]


def _print_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"promidata-sync {version('promidata-sync')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del version


@app.command(epilog=EPILOG)
def up(
    *,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 picks a free one. [PORT]")] = None,
    sync_all: Annotated[
        bool, typer.Option("--sync-all", help="Sync all suppliers of a feed of your own, too.")
    ] = False,
) -> None:
    """Bring everything up, sync the sample feed, and serve until Ctrl-C.

    PostgreSQL and Valkey are started where DATABASE_URL and REDIS_URL are not set, pictures go to a folder where
    S3_BUCKET is not, the sample feed is served where PROMIDATA_BASE_URL is not. DEMO=0 leaves the first sync to you.

    So many family and image workers are started as the processors pay for, or WORKERS_FAMILIES and WORKERS_IMAGES say.
    """
    with uncollected():
        from app.cli.up import run_up

    run_up(port=port, sync_all=sync_all)


@app.command(epilog=EPILOG)
def api(*, descriptor: Annotated[int | None, typer.Option(hidden=True)] = None) -> None:
    """Serve the HTTP API on HOST and PORT."""
    with uncollected():
        from app.cli.api_server import run_api

    run_api(descriptor)


@app.command(epilog=EPILOG)
def worker(kind: Annotated[WorkerKind, typer.Argument(help="Whose jobs it works on, or `probe`.")]) -> None:
    """Work on the jobs of one queue until stopped.

    `worker probe` asks whether the worker that writes WORKER_PROBE_FILE is well: exit code 0, or 1 and why not.
    """
    if kind == "probe":
        _probe_worker()
        return
    with uncollected():
        from app.cli.surroundings import find_settings
        from workers.start import main as run_worker

    raise typer.Exit(run_worker(QUEUE_OF[kind], find_settings()))


def _probe_worker() -> None:
    from app.cli.telling import complain
    from app.settings import load_settings
    from workers.probe import pulse_complaint

    wrong = pulse_complaint(str(load_settings().worker_probe_file or ""))
    if wrong is not None:
        complain(wrong)
        raise typer.Exit(int(ExitCode.FAILED))


@app.command(epilog=EPILOG)
def migrate(
    *,
    down_to: Annotated[str | None, typer.Option(help="Take the schema down to this; `base` removes all data.")] = None,
) -> None:
    """Bring the database's schema up to date. Several at once are fine."""
    from app.cli.migrating import run_migrate

    if down_to not in {None, "base"}:
        raise typer.BadParameter("only `base` is possible", param_hint="--down-to")
    run_migrate(down_to or "head")


@app.command(epilog=EPILOG)
def sync(
    supplier: Annotated[str | None, typer.Argument(help="A supplier's code or documentId; all active ones.")] = None,
    *,
    direct: Annotated[bool, typer.Option("--direct", help="In this process, without Redis and workers.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do; nothing is written.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Fetch and write all, whatever the hashes say.")] = False,
    skus: Annotated[str | None, typer.Option(help="Only these families of SUPPLIER, as with --force: A,B,C.")] = None,
    sku: Annotated[
        list[str] | None, typer.Option(help="The same, one as it is: a SKU may hold a comma. Repeat it.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it to its end; Ctrl-C leaves it running.")] = False,
    json: Json = False,
) -> None:
    """Start a sync of one supplier, or of all active ones.

    With --watch and --direct the exit code is the runs': 0 completed, 3 completed with errors, 4 cancelled, 1 failed.
    """
    from app.cli.sync import SyncOptions, run_sync
    from app.sync.operating.start import StartRequest

    wanted = _families(skus, sku or ())
    if wanted is not None and (supplier is None or not wanted):
        raise typer.BadParameter("name families and their supplier: sync A23 --skus A23-1,A23-2", param_hint="--skus")
    request = StartRequest(supplier=supplier, force=force, skus=wanted, trigger="cli")
    raise typer.Exit(run_sync(SyncOptions(request, direct=direct, dry_run=dry_run, watch=watch, as_json=json)))


def _families(listed: str | None, each: Sequence[str]) -> tuple[str, ...] | None:
    """The families that were named: those of a list at its commas, and others as they are; None where none was."""
    if listed is None and not each:
        return None
    return (*(sku.strip() for sku in (listed or "").split(",") if sku.strip()), *filter(None, each))


@app.command(epilog=EPILOG)
def reparse(
    supplier: Annotated[str | None, typer.Argument(help="A supplier's code or documentId; all active ones.")] = None,
    *,
    direct: Annotated[bool, typer.Option("--direct", help="In this process, without Redis and workers.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it to its end; Ctrl-C leaves it running.")] = False,
    json: Json = False,
) -> None:
    """Read the stored documents anew and write what differs, without asking the origin for one of them.

    For after an upgrade that reads the feed in another way. Exit codes are those of sync.
    """
    from app.cli.sync import SyncOptions, run_sync
    from app.sync.operating.start import StartRequest

    request = StartRequest(supplier=supplier, trigger="cli", reparse=True)
    raise typer.Exit(run_sync(SyncOptions(request, direct=direct, dry_run=False, watch=watch, as_json=json)))


@app.command(epilog=EPILOG)
def runs(
    run_id: Annotated[str | None, typer.Argument(help="One run, with what went wrong in it.")] = None,
    *,
    supplier: Annotated[str | None, typer.Option(help="Only this supplier's.")] = None,
    status: Annotated[RunStatus | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many runs, or problems of the one.")] = 20,
    json: Json = False,
) -> None:
    """List the runs, the newest first, or show one."""
    from app.cli.reads import show_run, show_runs

    if run_id is None:
        show_runs(supplier=supplier, status=status, limit=limit, as_json=json)
    else:
        show_run(run_id, limit=limit, as_json=json)


@app.command(epilog=EPILOG)
def stats(*, json: Json = False) -> None:
    """Say how many jobs each queue has, by state."""
    from app.cli.reads import show_stats

    show_stats(as_json=json)


@app.command(epilog=EPILOG)
def workers(*, json: Json = False) -> None:
    """List the live workers; one that died is gone within ten seconds."""
    from app.cli.worker_reads import show_workers

    show_workers(as_json=json)


@app.command(epilog=EPILOG)
def explain(
    sku: Annotated[str, typer.Argument(help="A family's SKU.")],
    *,
    supplier: Annotated[str | None, typer.Option(help="Whose, where several have it: a code or documentId.")] = None,
    json: Json = False,
) -> None:
    """Say why a product is as it is: its documents, hashes, last run and error, pictures that are pending."""
    from app.cli.catalogue_reads import show_explained

    show_explained(sku, supplier=supplier, as_json=json)


@app.command(epilog=EPILOG)
def audit(
    *,
    actor: Annotated[str | None, typer.Option(help="Only what this key, or user of the machine, did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this: startSync, cancelRun, pauseQueue, ...")] = None,
    target: Annotated[str | None, typer.Option(help="Only what was about this: a supplier, run, job, queue.")] = None,
    since: Annotated[datetime | None, time_option("From this time on")] = None,
    until: Annotated[datetime | None, time_option("Before this time")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = 20,
    json: Json = False,
) -> None:
    """Say who did what to what, the newest first."""
    from app.cli.audit_reads import show_audit
    from app.persistence.audit import AuditFilter

    show_audit(AuditFilter(actor, action, target, since, until), limit=limit, as_json=json)


@app.command(epilog=EPILOG)
def doctor(*, json: Json = False) -> None:
    """Check each part, whether they agree, and whether the work goes on; exit code 1 when something is wrong."""
    from app.cli.doctor import run_doctor

    raise typer.Exit(run_doctor(as_json=json))


@app.command(epilog=EPILOG)
def states() -> None:
    """Draw the states of a job and who may move them, in Mermaid's notation."""
    from app.states import draw

    typer.echo(draw())


@feed.command("check", epilog=EPILOG)
def feed_check(*, json: Json = False) -> None:
    """Read the manifest and say what is in it. Needs PROMIDATA_BASE_URL and no database."""
    from app.cli.feed_check import run_feed_check

    run_feed_check(as_json=json)


@feed.command(
    "serve",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def feed_serve(context: typer.Context) -> None:
    """Serve the sample feed; `feed serve --help` lists its switches."""
    from app.cli.feed_serve import serve

    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    command.command()(serve)
    command(args=context.args, prog_name="promidata-sync feed serve", standalone_mode=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    typed = [as_text(argument) for argument in (sys.argv[1:] if arguments is None else arguments)]
    return ending_of(lambda: app(args=typed, standalone_mode=False))


if __name__ == "__main__":
    sys.exit(main())
