"""Standing aside: what a worker does that waits for a part of ours in vain while another one of its queue is well.

    a part is waited for 20 s ─▶ still away? ─▶ a peer that waits for none? ─▶ nothing new is taken
                                                                           └▶ a free slot there? ─▶ all is handed back
    the part is there, or no peer is well ─▶ jobs are taken again

In an outage of all no peer is well, so nothing is handed round; nor is one well whose beat does not say, as of 0.1.0.
One who had nothing to do may look well until he meets the outage, but who stands aside says in each beat what he waits
for, so nobody hands back to him.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from structlog import get_logger

from app.coordination.heartbeats import WorkerBeat, live_workers
from app.errors import DatabaseUnavailable, OutageError, StoreUnavailable
from app.jobs.definitions import QueueName
from app.jobs.queue import RedisQueue
from app.outages import outages
from app.sync.services import Services

log = get_logger()

LOOK_EVERY_S = 5.0
IN_VAIN_S = 20.0
"""Longer than a part takes to start again, and than a peer in the same outage takes to say so in its beat."""


class Aside:
    """Of one worker. `hand_back` leaves what it holds to others, `note_wait` says of it what it waits for.

    `came_back` is told when jobs may be taken again.
    """

    def __init__(
        self,
        services: Services,
        queue: RedisQueue,
        name: QueueName,
        worker_id: str,
        *,
        hand_back: Callable[[], Awaitable[None]],
        note_wait: Callable[[str], Awaitable[None]],
        came_back: Callable[[], None],
    ) -> None:
        self._queue, self._name, self._worker_id = queue, name, worker_id
        self._hand_back, self._note_wait, self._came_back = hand_back, note_wait, came_back
        self._checks = {StoreUnavailable.part: services.store.check, DatabaseUnavailable.part: services.database.check}
        self._stands = False

    def stands(self) -> bool:
        """Whether it is to take no jobs now."""
        return self._stands

    async def look(self) -> None:
        """Look whether to stand aside from now on, and hand back what is held where a peer has room for it.

        Raises:
            QueueUnavailable: Redis is away, so nobody knows of others.
            DatabaseUnavailable: it cannot be said of the jobs what they wait for.
        """
        in_vain = outages.longer_than(IN_VAIN_S)
        away = [part for part in self._checks if part in in_vain and await self._is_away(part)]
        peers = await self._well_peers() if away else []
        self._stand(away, aside=bool(peers))
        if any(peer.active < peer.concurrency for peer in peers):
            await self._hand_back()
        if away and DatabaseUnavailable.part not in away:
            await self._note_wait("; ".join(f"waits for {part}: {in_vain[part]}" for part in away))

    async def _is_away(self, part: str) -> bool:
        """Ask the part itself; while it is away it is waited for here, also when there is no job that would."""
        loop = f"aside {part}"
        try:
            await self._checks[part]()
        except OutageError as error:
            outages.met(loop, error)
            return True
        outages.over(loop)
        return False

    async def _well_peers(self) -> list[WorkerBeat]:
        beats = await live_workers(self._queue.redis, self._queue.keys)
        peers = [beat for beat in beats if beat.queue_name == self._name and beat.id != self._worker_id]
        return [peer for peer in peers if peer.waits_for is not None and not peer.waits_for.keys() & self._checks]

    def _stand(self, away: list[str], *, aside: bool) -> None:
        if aside == self._stands:
            return
        self._stands = aside
        if aside:
            log.warning("others of the queue are well, so this worker takes no jobs", parts=away)
        else:
            log.info("this worker takes jobs again")
            self._came_back()
