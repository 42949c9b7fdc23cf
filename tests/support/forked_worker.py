"""A worker process, forked from one that has imported everything already.

A worker's imports take two seconds of a processor, its work in a test a few tenths; tests start hundreds of workers.
That a worker starts from nothing is tried where processes are what is tested (tests/e2e, test_stock_arq.py), and where
something is to be done before the imports.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["workers.start"])
_FROM_NOTHING = multiprocessing.get_context("spawn")


def start_worker(queue: str, environment: Mapping[str, str], log: Path, prelude: str = "") -> BaseProcess:
    """Start a worker of `queue`; its output goes to `log`. A `prelude` runs before anything of ours is imported."""
    context = _FROM_NOTHING if prelude else _FORKS
    process = context.Process(target=_be_worker, args=(queue, environment, str(log), prelude), daemon=True)
    process.start()
    return process


def _be_worker(queue: str, environment: Mapping[str, str], log: str, prelude: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.close(descriptor)
    exec(prelude, {})
    from workers.start import main  # noqa: PLC0415  after the prelude

    sys.exit(main(queue))  # type: ignore[arg-type]
