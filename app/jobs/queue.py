"""The dispatch: messages to workers through Redis, on ARQ's data model, in few round trips.

The ledger is the truth; what stands here may vanish at any time. A message carries a job's id and nothing else that a
worker would believe. `RedisQueue` is the API's and the workers' way to Redis; a stock `arq` worker reads the same keys.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError, RedisError

from app.errors import QueueUnavailable, SettingsError
from app.failpoints import reach
from app.jobs.client import prepare_client
from app.jobs.messages import Exchanged, Message, alike, exchanged, send_args, text_of
from app.jobs.redis_errors import advice
from app.jobs.scripts import FIRST_TIME_SCORE, scripts_for
from app.jobs.tenancy import HOLD, LET_GO, LIFE_MS, Tenancy
from app.jobs.trial import Trial
from app.logs import mask_address
from app.outages import end_if_cancelled
from app.redis_keys import RedisKeys

T = TypeVar("T")

KEEP_ROOM_MS = 3_000
"""For how long an idle worker takes jobs with the wake-up after its last exchange, of which it makes one a second. So a
worker that is cut off takes nothing for longer."""
CHUNK = 1_000
"""Messages a script call, so that no call holds Redis for long."""


class Queue(Protocol):
    """Where a stage sends the jobs that it committed. Redis, or the inline runner of a direct sync."""

    async def send(self, messages: Sequence[Message]) -> None:
        """Tell whoever works on these; the ledger already holds them, so a failure costs time and nothing else."""


class RedisQueue:
    """Redis as dispatch. One per process; safe to share between tasks."""

    def __init__(
        self, url: str, *, prefix: str = "", connect_timeout_s: float = 5.0, answer_timeout_s: float = 5.0
    ) -> None:
        """Prepare the pool; nothing connects until the first use. `prefix` begins every key.

        Raises:
            SettingsError: `url` has a parameter that is not known, or with a value that makes no sense.
        """
        self._shown = mask_address(url)
        self.keys = RedisKeys(prefix)
        self.tenancy = Tenancy(prefix)
        self._fits = False
        self.redis = prepare_client(url, socket_connect_timeout=connect_timeout_s, socket_timeout=answer_timeout_s)
        scripts, register = scripts_for(self.keys), self.redis.register_script
        self._send: AsyncScript = register(scripts.send)
        self._exchange: AsyncScript = register(scripts.exchange)
        self._known: AsyncScript = register(scripts.known)
        self._hold: AsyncScript = register(HOLD)
        self._let_go: AsyncScript = register(LET_GO)

    async def send(self, messages: Sequence[Message]) -> None:
        """Dispatch messages, a thousand a round trip; those that Redis knows already are left alone.

        Raises:
            QueueUnavailable: Redis is away or refuses writes.
        """
        with self._translated():
            for queue, group in alike(messages):
                for start in range(0, len(group), CHUNK):
                    await self._send_chunk(queue, group[start : start + CHUNK])

    async def _send_chunk(self, queue: str, messages: Sequence[Message]) -> None:
        reach(f"send.{queue}:before")
        keys = self.keys
        await self._send(keys=[keys.queue(queue), keys.wake(queue), keys.fair(queue)], args=send_args(messages))
        reach(f"send.{queue}:after")

    async def exchange(
        self,
        queue: str,
        token: str,
        *,
        lease_ms: int,
        room: int,
        done: Sequence[str] = (),
        again: Sequence[tuple[str, int]] = (),
        keep_room: bool = False,
    ) -> Exchanged:
        """Hand over what ended (`done`) or waits (`again`: id and ms), and lease up to `room` jobs.

        If nothing came, and `keep_room`, a `listen` may lease as many when something does; else it leases nothing.

        Raises:
            QueueUnavailable: Redis is away or refuses writes.
        """
        waits = [str(part) for pair in again for part in pair]
        with self._translated():
            answer = await self._exchange(
                keys=self._exchange_keys(queue, token),
                args=[token, lease_ms, room, KEEP_ROOM_MS if keep_room else 0, len(done), *done, *waits],
            )
        return exchanged(answer)

    async def listen(self, queue: str, token: str, *, lease_ms: int, wait_s: float) -> Exchanged | None:
        """Wait for the marker that wakes an idle worker, and lease what the last exchange kept room for.

        Both commands go out at once, and Redis runs the second one when the wait is over: that saves the round trip
        between hearing of a job and having it.

        Returns:
            None if the marker was not set within `wait_s` seconds and nothing was leased. An answer without ids says
            that there may be something, which nothing was leased of.

        Raises:
            QueueUnavailable: Redis is away or refuses writes.
        """
        keys = self._exchange_keys(queue, token)
        with self._translated():
            marker, answer = await self.redis.both(
                ("BZPOPMIN", self.keys.wake(queue), wait_s),
                ("EVALSHA", self._exchange.sha, len(keys), *keys, token, lease_ms, "kept", KEEP_ROOM_MS, 0),
            )
            if isinstance(answer, NoScriptError):
                await self.redis.script_load(self._exchange.script)
                answer = [], -1
            if isinstance(answer, RedisError):
                raise answer
            got = exchanged(answer)
            if isinstance(marker, RedisError) and not got.ids:
                raise marker
        return got if marker or got.ids else None

    async def keep_no_room(self, token: str) -> bool:
        """From now on no `listen` leases anything; whether one could have until now.

        Raises:
            QueueUnavailable: Redis is away or refuses writes.
        """
        with self._translated():
            return bool(await self.redis.delete(self.keys.room(token)))

    def _exchange_keys(self, queue: str, token: str) -> list[str]:
        return [self.keys.queue(queue), self.keys.wake(queue), self.keys.room(token)]

    async def unknown(self, queue: str, ids: Sequence[str]) -> list[str]:
        """Which of these ids Redis neither queues nor leases.

        Raises:
            QueueUnavailable: Redis is away.
        """
        with self._translated():
            unknown = await self._known(keys=[self.keys.queue(queue)], args=list(ids))
        return [text_of(job_id) for job_id in unknown]

    async def overdue(self, queue: str, ids: Sequence[str]) -> list[str]:
        """Which of these ids have waited long enough, or a lease that nobody renewed, by Redis's clock.

        Raises:
            QueueUnavailable: Redis is away.
        """
        with self._translated():
            async with self.redis.pipeline(transaction=False) as looks:
                looks.time()
                for job_id in ids:
                    looks.zscore(self.keys.queue(queue), job_id)
                (seconds, microseconds), *scores = await looks.execute()
        now_ms = seconds * 1000 + microseconds // 1000
        return [job_id for job_id, at in zip(ids, scores, strict=True) if at and FIRST_TIME_SCORE <= at <= now_ms]

    async def length(self, queue: str) -> int:
        """How many jobs of the queue Redis knows, running ones among them.

        Raises:
            QueueUnavailable: Redis is away.
        """
        with self._translated():
            return int(await self.redis.zcard(self.keys.queue(queue)))

    async def set_marker(self, queue: str) -> bool:
        """Set the marker of a Redis that holds the queue's messages; True when it was missing.

        Raises:
            QueueUnavailable: Redis is away or refuses writes.
        """
        with self._translated():
            return bool(await self.redis.set(self.keys.marker(queue), "1", nx=True))

    async def wake(self, queue: str) -> None:
        """Wake an idle worker of the queue.

        Raises:
            QueueUnavailable: Redis is away or refuses writes.
        """
        with self._translated():
            await self.redis.zadd(self.keys.wake(queue), {"w": 0})

    async def page(self, queue: str, start: int, number: int) -> list[str]:
        """Ids that Redis queues, `number` of them from place `start` on.

        Raises:
            QueueUnavailable: Redis is away.
        """
        with self._translated():
            return [
                text_of(job_id) for job_id in await self.redis.zrange(self.keys.queue(queue), start, start + number - 1)
            ]

    async def check(self) -> None:
        """Ask whether Redis is there, takes writes, lets us do what we need, and is ours.

        Raises:
            QueueUnavailable: it does not, with its address and what to do.
        """
        try:
            await self.try_once()
        except SettingsError as error:
            raise QueueUnavailable(str(error)) from error
        if self.tenancy.id is None:
            with self._translated():
                await self.redis.set(self.keys.check, "1", px=1000)
            return
        await self.hold()
        if self.tenancy.alive:
            raise QueueUnavailable(f"Redis at {self._shown}: {self.tenancy.conflict}")

    async def try_once(self) -> None:
        """Try keys and commands, unless they were tried before and fit.

        Raises:
            SettingsError: the user of REDIS_URL may not touch a key or run a command, is refused, or the server is a
                replica or does not have the command; says what to do.
            QueueUnavailable: Redis is away.
        """
        if not self._fits:
            await self.try_commands()
            self._fits = True

    async def try_commands(self) -> None:
        """Run each command that we need once, on keys of no consequence, and touch each key that we use.

        Raises:
            SettingsError: as with `try_once`.
            QueueUnavailable: Redis is away.
        """
        trial = Trial(self.redis, self.keys, self._shown)
        await trial.keys()
        await trial.commands(self._send, self._exchange, self._known)

    async def hold(self) -> None:
        """Say that these keys are our installation's, or see that they are another's (`tenancy`).

        Raises:
            QueueUnavailable: Redis is away or refuses writes.
        """
        if self.tenancy.id is None:
            return
        with self._translated():
            asked_at = time.monotonic()
            ours, left_ms = await self._hold(
                keys=[self.keys.installation, self.keys.schema], args=[self.tenancy.id, self.tenancy.schema, LIFE_MS]
            )
        self.tenancy.note(left_ms, asked_at, ours=bool(ours))

    async def let_go(self) -> None:
        """Leave the keys to whoever comes next, if no worker of ours lives.

        Raises:
            QueueUnavailable: Redis is away or refuses writes.
        """
        if self.tenancy.id is not None:
            with self._translated():
                await self._let_go(
                    keys=[self.keys.installation, self.keys.schema, self.keys.workers],
                    args=[self.tenancy.id, self.tenancy.schema],
                )

    async def close(self) -> None:
        """Close the pool."""
        await self.redis.aclose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            end_if_cancelled(error)
            raise QueueUnavailable(f"Redis at {self._shown}: {advice(error, self.keys)}") from error
