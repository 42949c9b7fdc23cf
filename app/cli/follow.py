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

from rich.console import Group
from rich.live import Live
from rich.text import Text

from app.cli.exits import end_if_unread
from app.cli.named import read_runs
from app.cli.run_tables import line_of, live_table
from app.cli.telling import PLAIN_EVERY_S, Teller
from app.cli.waits import look_for_waits
from app.errors import DatabaseUnavailable
from app.states import UNDER_WAY
from app.sync.services import Services
from app.views.runs import Run

LOOK_EVERY_S = 0.5
PLAIN_LINES = 6
"""Running runs that plain lines name at a time."""
ROWS_FOR_OTHERS = 6
"""Rows of the terminal that the live table leaves free."""


class RunView(Protocol):
    """Shows how far runs are."""

    def update(self, runs: Sequence[Run], waits: Sequence[str]) -> None:
        """Show the latest look, and what the runs wait for."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


async def follow(
    services: Services, run_ids: Sequence[str], teller: Teller, *, only_if_read: bool = False
) -> list[Run]:
    """Return the runs when all are over; an outage of the database is waited out.

    Raises:
        NotFound: a run was deleted meanwhile.
        SystemExit: it is done for the reader of standard output alone, and that one has gone.
    """
    waits = Waits(services)
    with view_for(teller) as view:
        while True:
            if only_if_read:
                end_if_unread()
            try:
                runs = await read_runs(services, run_ids)
                said = await waits.look(runs)
            except DatabaseUnavailable as error:
                teller.say(f"waiting for the database: {error}")
                await asyncio.sleep(PLAIN_EVERY_S)
                continue
            view.update(runs, said)
            if not any(run.status in UNDER_WAY for run in runs):
                return runs
            await asyncio.sleep(LOOK_EVERY_S)


class Waits:
    """What the runs wait for, looked up less often than how far they are."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._said: list[str] = []
        self._next_at = 0.0

    async def look(self, runs: Sequence[Run]) -> list[str]:
        """The lines of the newest look.

        Raises:
            DatabaseUnavailable: it is away.
        """
        if time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + PLAIN_EVERY_S
            self._said = await look_for_waits(self._services, runs)
        return self._said


def view_for(teller: Teller) -> RunView:
    """The view that fits the output."""
    return LiveView(teller) if teller.live else PlainView(teller)


class LiveView:
    """A table of bars that stays in place."""

    def __init__(self, teller: Teller) -> None:
        self._console = teller.console
        self._live = Live(console=teller.console, refresh_per_second=8, transient=True)

    def update(self, runs: Sequence[Run], waits: Sequence[str]) -> None:
        """Draw it anew."""
        rows = max(3, self._console.height - ROWS_FOR_OTHERS - len(waits))
        self._live.update(Group(live_table(runs, rows), *map(Text, waits)))

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

    def update(self, runs: Sequence[Run], waits: Sequence[str]) -> None:
        """Say what has ended, and, when it is time, how far the others are and what they wait for."""
        for run in runs:
            if run.status not in UNDER_WAY and run.id not in self._over:
                self._over.add(run.id)
                self._tell(line_of(run))
        if time.monotonic() >= self._next_at:
            self._tell_progress(runs)
            for line in waits:
                self._say(f"    {line}")

    def _tell_progress(self, runs: Sequence[Run]) -> None:
        running = [run for run in runs if run.status in UNDER_WAY and run.status != "queued"]
        for run in running[:PLAIN_LINES]:
            self._tell(line_of(run))
        waiting = sum(run.status == "queued" for run in runs)
        if len(running) > PLAIN_LINES or (waiting and not running):
            self._tell(f"{len(running)} running, {waiting} waiting to start")

    def _tell(self, line: str) -> None:
        now = time.monotonic()
        self._say(f"[{now - self._began:5.1f} s] {line}")
        self._next_at = now + PLAIN_EVERY_S

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """There is nothing to put away."""
