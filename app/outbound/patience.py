"""How long one fetch may take with all its redirects: for the answer, and apart from that for places to ask in.

wait for a place ─▶ request, redirect ─▶ wait for a place ─▶ request, answer
└── places ───────┘ └── answer ───────┘ └── places ───────┘ └── answer ────┘
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from app.errors import OriginUnavailable
from app.outbound.gate import Gate, Place
from app.outbound.urls import Shown, WebAddress
from app.time_limits import within


class Patience:
    """What is left of both, of one fetch."""

    def __init__(self, answer_s: float, places_s: float | None) -> None:
        self._answer_s, self._places_s = answer_s, places_s
        self._ends_at = time.monotonic() + answer_s

    @asynccontextmanager
    async def place(self, gate: Gate, address: WebAddress) -> AsyncIterator[Place]:
        """Wait for a place at the host of `address`, and hold it until the block ends.

        Raises:
            NoPlace: there was none in the time that is left for places.
        """
        began = time.monotonic()
        async with gate.slot(f"{address.host}:{address.port}", self._places_s) as place:
            waited_s = time.monotonic() - began
            self._ends_at += waited_s
            if self._places_s is not None:
                self._places_s = max(0.0, self._places_s - waited_s)
            yield place

    def answer(self, shown: Shown) -> AbstractAsyncContextManager[None]:
        """Run the block for as long as is left for the answer; `shown` is the address that was asked for first.

        Raises:
            OriginUnavailable: the time is up.
        """
        return within(
            self._ends_at - time.monotonic(),
            lambda: OriginUnavailable(f"{shown}: the whole answer took over {self._answer_s:g} s"),
        )
