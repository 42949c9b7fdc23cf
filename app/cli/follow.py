"""Following runs in the ledger until they are over, with a live display or plain lines.

    run ids ─▶ look every 0.5 s ─▶ terminal: bars │ elsewhere: a line each 2 s and at each end ─▶ runs that are over

Nothing here touches the runs: whoever follows may leave, and they go on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.live import Live

from app.cli.named import read_runs
from app.cli.run_tables import line_of, live_table
from app.cli.telling import PLAIN_EVERY_S, Teller
from app.errors import DatabaseUnavailable
from app.sync.services import Services
from app.views.runs import Run

LOOK_EVERY_S = 0.5
UNDER_WAY = frozenset({"queued", "running", "cancelling"})
PLAIN_LINES = 6
"""Running runs that plain lines name at a time."""
WAITED_LONG_S = 10.0
ROWS_FOR_OTHERS = 6
"""Rows of the terminal that the live table leaves free."""


class RunView(Protocol):
    """Shows how far runs are."""

    def update(self, runs: Sequence[Run]) -> None:
        """Show the latest look."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


async def follow(services: Services, run_ids: Sequence[str], teller: Teller) -> list[Run]:
    """Return the runs when all are over; an outage of the database is waited out.

    Raises:
        NotFound: a run was deleted meanwhile.
    """
    with view_for(teller) as view:
        while True:
            try:
                runs = await read_runs(services, run_ids)
            except DatabaseUnavailable as error:
                teller.say(f"waiting for the database: {error}")
                await asyncio.sleep(PLAIN_EVERY_S)
                continue
            view.update(runs)
            if not any(run.status in UNDER_WAY for run in runs):
                return runs
            await asyncio.sleep(LOOK_EVERY_S)


def view_for(teller: Teller) -> RunView:
    """The view that fits the output."""
    return LiveView(teller) if teller.live else PlainView(teller)


class LiveView:
    """A table of bars that stays in place."""

    def __init__(self, teller: Teller) -> None:
        self._console = teller.console
        self._live = Live(console=teller.console, refresh_per_second=8, transient=True)

    def update(self, runs: Sequence[Run]) -> None:
        """Draw it anew."""
        rows = max(3, self._console.height - ROWS_FOR_OTHERS)
        self._live.update(live_table(runs, rows))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()


class PlainView:
    """Lines: one as each run ends, and one at least every two seconds for what is running."""

    def __init__(self, teller: Teller) -> None:
        self._say = teller.say
        self._began = time.monotonic()
        self._next_at = self._began
        self._over: set[str] = set()

    def update(self, runs: Sequence[Run]) -> None:
        """Say what has ended, and, when it is time, how far the others are."""
        for run in runs:
            if run.status not in UNDER_WAY and run.id not in self._over:
                self._over.add(run.id)
                self._tell(line_of(run))
        if time.monotonic() >= self._next_at:
            self._tell_progress(runs)

    def _tell_progress(self, runs: Sequence[Run]) -> None:
        running = [run for run in runs if run.status in UNDER_WAY - {"queued"}]
        for run in running[:PLAIN_LINES]:
            self._tell(line_of(run))
        waiting = sum(run.status == "queued" for run in runs)
        if len(running) > PLAIN_LINES or (waiting and not running):
            self._tell(f"{len(running)} running, {waiting} waiting to start{self._doubt(len(running))}")

    def _doubt(self, running: int) -> str:
        waited_long = not running and time.monotonic() - self._began > WAITED_LONG_S
        return " (is one running? start it with `promidata-sync worker supplier`)" if waited_long else ""

    def _tell(self, line: str) -> None:
        now = time.monotonic()
        self._say(f"[{now - self._began:5.1f} s] {line}")
        self._next_at = now + PLAIN_EVERY_S

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """There is nothing to put away."""
