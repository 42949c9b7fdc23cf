"""Doing something again and again beside the jobs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from uuid import uuid4

from structlog import get_logger

from app.errors import OutageError
from app.outages import end_if_cancelled, outages

log = get_logger()


async def every(pause_s: float, work: Callable[[], Awaitable[object]]) -> None:
    """Do `work` again and again, `pause_s` apart with some jitter; an outage is waited out, a bug is logged.

    A chore that fails does not take the worker's jobs down with it.
    """
    loop = f"{work} {uuid4()}"
    while True:
        await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311  spreads workers, no secret
        try:
            await work()
        except OutageError as error:
            end_if_cancelled(error)
            outages.met(loop, error)
            await asyncio.sleep(1.0)
        except Exception as error:
            end_if_cancelled(error)
            log.exception("a bug in a chore")
            await asyncio.sleep(1.0)
        else:
            outages.over(loop)
