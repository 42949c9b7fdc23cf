"""How many processors this process may use, and how many workers of each kind they pay for.

affinity (cpuset, taskset) ─┐
quota of each cgroup above ─┴▶ cores ─▶ image and family workers, unless WORKERS_IMAGES and WORKERS_FAMILIES say so
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from app.jobs.definitions import StageName
from app.settings import Settings

MOST_FAMILY_WORKERS = 3
"""PostgreSQL writes for all of them: measured, a fourth adds nothing."""
CGROUPS = Path("/sys/fs/cgroup")
MINE = Path("/proc/self/cgroup")


def worker_counts(settings: Settings, cores: int) -> dict[StageName, int]:
    """How many workers of each kind to start.

    A picture is decoded in C and a family written by PostgreSQL, so image workers fill the processors first. More of
    them than the origin lets ask at once would wait for each other (docs/scaling.md). One supplier worker is enough for
    one supplier at a time; more of them are replicas.
    """
    allowed = max(1, settings.origin_max_concurrency // settings.concurrency_images)
    return {
        "supplier": 1,
        "family": settings.workers_families or min(max(1, cores // 2), MOST_FAMILY_WORKERS),
        "image": settings.workers_images or min(cores, allowed),
    }


def available_cores(cgroups: Path = CGROUPS, mine: Path = MINE) -> int:
    """The processors that this process may use, at least one: a part of one counts as one.

    Args:
        cgroups: where the kernel shows its control groups.
        mine: which of them this process is in.
    """
    given = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([given, *(math.ceil(quota) for quota in _quotas(cgroups, mine))]))


def _quotas(cgroups: Path, mine: Path) -> Iterator[float]:
    """Processors' worth of time, of this process's control groups and of those above them; version 2 and 1."""
    for folder, is_new in _groups(cgroups, mine):
        with suppress(OSError, ValueError, ZeroDivisionError):
            if is_new:
                quota, period = (folder / "cpu.max").read_text().split()
            else:
                quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            if float(quota) > 0:  # "max" and -1 are none
                yield float(quota) / float(period)


def _groups(cgroups: Path, mine: Path) -> Iterator[tuple[Path, bool]]:
    try:
        lines = [line.split(":", 2) for line in mine.read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in (line for line in lines if len(line) == 3):
        is_new = controllers == ""
        if is_new or "cpu" in controllers.split(","):
            root = cgroups if is_new else cgroups / "cpu"
            inside = PurePosixPath(path.lstrip("/"))
            for group in (inside, *inside.parents):
                yield root / group, is_new
