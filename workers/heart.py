"""A worker's heart: renews leases and shows that the worker lives, from a thread of its own.

A job that blocks the event loop keeps its lease; a process that is frozen or dead loses it, and its jobs run again
elsewhere. What another worker holds meanwhile is reported back to the event loop. When the loop does not come round for
longer than a job may take, the process ends itself: its jobs' time-outs cannot strike any more, and it is of no use.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence

from redis import Redis
from redis.exceptions import RedisError
from structlog import get_logger

from app.coordination.heartbeats import BEAT_EVERY_S, Beats, forget_beat, time_of, write_beat
from app.jobs.scripts import scripts_for
from app.outages import outages
from app.redis_keys import RedisKeys
from workers.pulse import late

log = get_logger()

BEATS_A_LEASE = 4
CHUNK = 500
EXIT_STUCK = 70
STUCK_AFTER_S = 5.0
"""Beyond the longest that a job may take: then the event loop itself is stuck."""
LATE_S = 60.0
"""A beat gives up on a Redis that is away within some seconds; one that takes this long never comes back."""


class Heart:
    """Beats until stopped. `held` gives the ids to renew, `beats` what is said; `on_lost` gets what others hold."""

    def __init__(
        self,
        url: str,
        keys: RedisKeys,
        queue: str,
        token: str,
        *,
        held: Callable[[], Sequence[str]],
        beats: Beats,
        on_lost: Callable[[list[str]], None],
        loop: asyncio.AbstractEventLoop,
        lease_s: float,
        stuck_after_s: float,
    ) -> None:
        self._redis = Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3)
        self._renew = self._redis.register_script(scripts_for(keys).renew)
        self._keys, self._queue, self._token = keys, keys.queue(queue), token
        self._held, self._beats, self._on_lost = held, beats, on_lost
        self._loop, self._lease_s, self._stuck_after_s = loop, lease_s, stuck_after_s
        self._came_round_at = self._beat_at = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heart", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, and say that the worker is gone."""
        self._stopped.set()
        self._thread.join(timeout=4)
        try:
            forget_beat(self._redis, self._token, self._keys)
        except (RedisError, OSError):
            log.warning("Redis is away, so the worker's beat goes by itself")
        self._redis.close()

    def complaint(self) -> str | None:
        """What is wrong with it, None when nothing is; that Redis is away is nothing of its own."""
        if not self._thread.is_alive() and not self._stopped.is_set():
            return "its heart has ended, so its leases run out"
        return late("its heart", self._beat_at, LATE_S)

    def _beat(self) -> None:
        while True:
            self._beat_at = time.monotonic()
            self._look_at_loop()
            try:
                write_beat(self._redis, self._beats.at(time_of(self._redis)), self._keys)
                lost = self._prolong(list(self._held()))
                if lost:
                    self._on_lost(lost)
                outages.over("heart")
            except (RedisError, OSError) as error:
                outages.met("heart", error, "Redis")
            except Exception:
                log.exception("a bug in the heartbeat")
            if self._stopped.wait(min(BEAT_EVERY_S, self._lease_s / BEATS_A_LEASE)):
                return

    def _look_at_loop(self) -> None:
        stuck_s = time.monotonic() - self._came_round_at
        if stuck_s > self._stuck_after_s:
            log.error("the event loop is stuck, so this worker ends", seconds=round(stuck_s))
            os._exit(EXIT_STUCK)
        self._loop.call_soon_threadsafe(self._come_round)

    def _come_round(self) -> None:
        self._came_round_at = time.monotonic()

    def _prolong(self, ids: Sequence[str]) -> list[str]:
        lost: list[str] = []
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            answer = self._renew(keys=[self._queue], args=[self._token, round(self._lease_s * 1000), *chunk])
            lost += [job_id.decode() for job_id in answer]
        return lost
