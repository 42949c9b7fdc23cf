"""The `promidata-sync` command: what can be typed, and the door that turns errors into messages and exit codes.

    main ─▶ typer ─▶ a command: settings from the environment, else from a running `up` ─▶ ... ─▶ exit code
      └─▶ an error of ours: one message │ anything else: one message, the traceback at LOG_LEVEL=DEBUG

Each command imports what it needs when it runs, so that help and the workers' start stay fast.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from importlib.metadata import version
from typing import Annotated

import typer

from app.cli.exits import EPILOG, ExitCode
from app.errors import PromidataSyncError
from app.jobs.definitions import QueueName

app = typer.Typer(
    name="promidata-sync",
    help="Keeps a PostgreSQL catalogue and an S3/R2 picture store true to a Promidata feed.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
feed = typer.Typer(help="The feed: test the connection, or serve the sample feed.", no_args_is_help=True, epilog=EPILOG)
app.add_typer(feed, name="feed")

Json = Annotated[bool, typer.Option("--json", help="One JSON document, for scripts.")]


class WorkerKind(StrEnum):
    """The three workers."""

    supplier = "supplier"
    family = "family"
    image = "image"


QUEUE_OF: dict[WorkerKind, QueueName] = {
    WorkerKind.supplier: "supplier-sync",
    WorkerKind.family: "product-family",
    WorkerKind.image: "image-upload",
}


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
    """
    from app.cli.up import run_up

    run_up(port=port, sync_all=sync_all)


@app.command(epilog=EPILOG)
def api() -> None:
    """Serve the HTTP API on HOST and PORT."""
    from app.cli.api_server import run_api

    run_api()


@app.command(epilog=EPILOG)
def worker(kind: Annotated[WorkerKind, typer.Argument(help="Whose jobs it works on.")]) -> None:
    """Work on the jobs of one queue until stopped."""
    from app.cli.surroundings import find_settings
    from workers.start import main as run_worker

    raise typer.Exit(run_worker(QUEUE_OF[kind], find_settings()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        app(args=None if arguments is None else list(arguments))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(ExitCode.OK)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    except PromidataSyncError as error:
        return _complain(str(error), error)
    except Exception as error:  # noqa: BLE001 - the last door: a traceback helps nobody who runs a command
        return _complain(f"unexpected {type(error).__name__}: {error}; LOG_LEVEL=DEBUG shows where", error)
    return int(ExitCode.OK)


def _complain(message: str, error: Exception) -> int:
    from app.cli.telling import complain, show_traceback

    complain(message)
    show_traceback(error)
    return int(ExitCode.FAILED)


if __name__ == "__main__":
    sys.exit(main())
