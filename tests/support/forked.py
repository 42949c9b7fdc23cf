"""Processes of ours that are forked from one that has imported everything already.

A process's imports take two seconds of a processor, its work in a test a few tenths; tests start hundreds of them. That
ours start from nothing is tried where processes are what is tested (tests/e2e, test_stock_arq.py and others), and where
something is to be done before the imports.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

COMMANDS = (
    "api_server", "catalogue_reads", "doctor", "feed_check", "migrating", "queue_verbs", "reads", "supplier_reads",
    "supplier_verbs", "sync", "webhook_verbs", "worker_reads",
)  # fmt: skip

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["workers.start", "app.cli.main", *(f"app.cli.{name}" for name in COMMANDS)])
_FROM_NOTHING = multiprocessing.get_context("spawn")


def start_worker(queue: str, environment: Mapping[str, str], log: Path, prelude: str = "") -> BaseProcess:
    """Start a worker of `queue`; its output goes to `log`. A `prelude` runs before anything of ours is imported."""
    context = _FROM_NOTHING if prelude else _FORKS
    process = context.Process(target=_be_worker, args=(queue, environment, str(log), prelude), daemon=True)
    process.start()
    return process


def start_command(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, out: Path, err: Path
) -> BaseProcess:
    """Start `promidata-sync` with `arguments` in `folder`; what it prints goes to the files `out` and `err`."""
    process = _FORKS.Process(
        target=_be_command, args=(arguments, environment, str(folder), str(out), str(err)), daemon=True
    )
    process.start()
    return process


def start_call(
    module: str, function: str, arguments: Sequence[object], environment: Mapping[str, str], log: Path
) -> BaseProcess:
    """Start a process that calls a function of a module; its output goes to `log`."""
    process = _FORKS.Process(target=_be_call, args=(module, function, arguments, environment, str(log)), daemon=True)
    process.start()
    return process


def _be_worker(queue: str, environment: Mapping[str, str], log: str, prelude: str) -> None:
    _become(environment, log, log)
    exec(prelude, {})
    from workers.start import main  # noqa: PLC0415  after the prelude

    sys.exit(main(queue))  # type: ignore[arg-type]


def _be_command(arguments: Sequence[str], environment: Mapping[str, str], folder: str, out: str, err: str) -> None:
    os.chdir(folder)
    _become(environment, out, err)
    from app.cli.main import main  # noqa: PLC0415  imported already, by the process that forks

    sys.argv = ["promidata-sync", *arguments]
    sys.exit(main(arguments))


def _be_call(module: str, function: str, arguments: Sequence[object], environment: Mapping[str, str], log: str) -> None:
    _become(environment, log, log)
    getattr(importlib.import_module(module), function)(*arguments)


def _become(environment: Mapping[str, str], out: str, err: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for standard, file in ((1, out), (2, err)):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, standard)
        os.close(descriptor)
