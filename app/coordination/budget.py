"""One budget of requests to each origin host, shared by all processes: so many at once, so many a second.

    slot(host) ── a place is left of this process's share ──▶ request ── 429? ──▶ all slow down
                └─ else waits; the tender asks Redis for a larger share ─▶ placed

Shares are taken from Redis in blocks and renewed once a second, so that no request costs a round trip. A process asks
for what it uses and waits for; where that is more than there is, each gets its equal part. Without Redis each process
has a fixed part.

After a 429 nobody asks this host until a pause is over (what `Retry-After` says, else doubled from half a second); then
one asks, and with each success one more may. So a hundred workers do not hammer a seller who says no.

Who holds something that others need meanwhile says for how long it waits, and is sent away until the pause is over.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError
from structlog import get_logger

from app.coordination.budget_script import SHARE
from app.errors import NoPlace
from app.outages import outages
from app.redis_keys import DEFAULT_KEYS, RedisKeys

log = get_logger()

RENEW_EVERY_S = 1.0
ASK_AGAIN_S = 0.1
"""How soon a process whose share does not suffice asks for more."""
SPARE = 4
"""Places beyond those in use that a process holds, so that one more request need not wait for the next renewal."""
BLOCK_S = 0.25
"""Of a rate, so much is taken at once."""
WHEN_REDIS_IS_AWAY = 4
"""Processes among which the budget is split when Redis cannot say how many there are."""
LONGEST_PAUSE_S = 60.0
WHILE_PAUSED_S = 0.2
"""Seconds that one who says for how long it waits is kept while nobody may ask: not none, or all of a long queue would
be claimed and sent away as fast as that goes."""
COME_BACK_WITHIN = 0.2
"""Of a pause: over this part of it those who were sent away come back behind its end, one after the other."""
COME_BACK_S = 2.0
"""The least of that, and all where it is no pause that they wait for."""


class Slot:
    """A place for one request; `note` the answer's status before leaving."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.status: int | None = None
        self.retry_after_s: float | None = None

    def note(self, status: int, retry_after_s: float | None = None) -> None:
        """Say how the host answered: a 429 slows everybody down, anything else lets them come back."""
        self.status, self.retry_after_s = status, retry_after_s


class OriginBudget:
    """The requests that this process may make. One a process and event loop; close it at the end."""

    def __init__(
        self,
        redis: Redis | None,
        *,
        most_at_once: int,
        most_a_second: float | None,
        keys: RedisKeys = DEFAULT_KEYS,
    ) -> None:
        """Share the budget through `redis`; without it all of the budget is this process's."""
        self._share: AsyncScript | None = None if redis is None else redis.register_script(SHARE)
        self._keys = keys
        self._most_at_once, self._most_a_second = most_at_once, most_a_second
        self._hosts: dict[str, _Host] = {}

    @asynccontextmanager
    async def slot(self, host: str, within_s: float | None = None) -> AsyncIterator[Slot]:
        """Wait for a place for one request to `host` (with its port), and hold it until the block ends.

        Raises:
            NoPlace: there is none within `within_s` seconds, or the host wants a pause that is longer than that.
        """
        budget = self._hosts.get(host)
        if budget is None:
            keys = (self._keys.budget(host), self._keys.shares(host))
            budget = self._hosts[host] = _Host(host, keys, self._share, self._most_at_once, self._most_a_second)
        slot = await budget.enter(within_s)
        try:
            yield slot
        finally:
            budget.leave(slot)

    async def close(self) -> None:
        """Give all shares back."""
        for budget in self._hosts.values():
            await budget.close()


class _Host:
    """One host's share in this process, and those who wait for a place in it."""

    def __init__(
        self, name: str, keys: tuple[str, str], share: AsyncScript | None, at_once: int, a_second: float | None
    ) -> None:
        self._name = name
        self._keys, self._share, self._token = list(keys), share, uuid4().hex
        self._at_once, self._a_second = at_once, a_second
        self._granted, self._tokens, self._epoch = 0, 0, 0
        self._paused_until = 0.0
        """By the loop's clock."""
        self._in_use, self._succeeded = 0, 0
        self._refused: tuple[int, float] | None = None
        self._waiting: deque[asyncio.Future[Slot]] = deque()
        self._poked = asyncio.Event()
        self._local = LocalPace(at_once if share is None else max(1, at_once // WHEN_REDIS_IS_AWAY), a_second)
        self._tender: asyncio.Task[None] | None = None

    async def enter(self, within_s: float | None) -> Slot:
        if not self._waiting and self._has_place():
            return self._take()
        place: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._poke()
        try:
            async with asyncio.timeout(self._patience_s(within_s)):
                return await place
        except TimeoutError:
            if place.done() and not place.cancelled():
                return place.result()
            pause_s = self._pause_s()
            come_back_s = pause_s + random.uniform(0.2, max(COME_BACK_S, COME_BACK_WITHIN * pause_s))  # noqa: S311
            raise NoPlace(self._why_not(), come_back_s) from None
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave(place.result())
            raise
        finally:
            with suppress(ValueError):
                self._waiting.remove(place)

    def _patience_s(self, within_s: float | None) -> float | None:
        return within_s if within_s is None or self._pause_s() <= within_s else min(within_s, WHILE_PAUSED_S)

    def _pause_s(self) -> float:
        return max(0.0, self._paused_until - asyncio.get_running_loop().time())

    def _why_not(self) -> str:
        """Why no request may begin, for whoever sees that it does not."""
        pause_s = self._pause_s()
        if not pause_s:
            return f"{self._name} is asked as much as ORIGIN_MAX_CONCURRENCY and ORIGIN_MAX_RPS allow"
        until = datetime.now(UTC) + timedelta(seconds=pause_s)
        return f"{self._name} answered 429, and is left alone until {until:%Y-%m-%d %H:%M:%S} UTC"

    def leave(self, slot: Slot) -> None:
        self._in_use -= 1
        if slot.status == 429 and slot.epoch == self._epoch:
            self._refused = (slot.epoch, min(slot.retry_after_s or 0.0, LONGEST_PAUSE_S))
            self._granted = 0  # nobody starts before the tender has heard how long to pause
            self._poke()
        elif slot.status is not None and slot.status != 429 and slot.epoch == self._epoch:
            self._succeeded += 1
        self._let_in()

    async def close(self) -> None:
        if self._tender is not None:
            self._tender.cancel()
            await asyncio.wait([self._tender])
        if self._share is not None:
            with suppress(RedisError, OSError):
                await self._ask(self._share, want=0)

    def _has_place(self) -> bool:
        return self._in_use < self._granted and (self._a_second is None or self._tokens > 0)

    def _take(self) -> Slot:
        self._in_use += 1
        self._tokens -= 1
        if self._tender is None or self._tender.done():
            self._poke()
        return Slot(self._epoch)

    def _let_in(self) -> None:
        while self._waiting and self._has_place():
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(self._take())
        if self._waiting:
            self._poke()

    def _poke(self) -> None:
        self._poked.set()
        if self._tender is None or self._tender.done():
            self._tender = asyncio.create_task(self._tend(), context=Context())  # no job's: its log lines are all jobs'

    async def _tend(self) -> None:
        """Renew the share for as long as there is something to ask the host for."""
        while self._in_use or self._waiting or self._granted:
            self._poked.clear()
            await self._renew()
            self._let_in()
            await asyncio.sleep(ASK_AGAIN_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEW_EVERY_S):
                    await self._poked.wait()

    async def _renew(self) -> None:
        refused, self._refused = self._refused, None
        succeeded, self._succeeded = self._succeeded, 0
        try:
            if self._share is None:
                answer = self._local.ask(self._want(), self._tokens_wanted(), refused, succeeded)
            else:
                answer = await self._ask(self._share, self._want(), refused, succeeded)
        except (RedisError, OSError) as error:
            outages.noted(error, "the origin's budget is split without Redis", "Redis")
            answer = self._local.ask(self._want(), self._tokens_wanted(), refused, succeeded)
        self._granted, epoch = answer[0], answer[2]
        self._tokens = max(0, self._tokens) + answer[1]
        self._paused_until = asyncio.get_running_loop().time() + answer[3] / 1000
        if epoch != self._epoch and answer[3]:
            log.warning("a host wants a pause", why=self._why_not(), waiting=len(self._waiting))
        self._epoch = epoch

    def _want(self) -> int:
        wanted = self._in_use + len(self._waiting)
        return wanted + SPARE if wanted else 0

    def _tokens_wanted(self) -> int:
        if self._a_second is None or not self._waiting:
            return 0
        block = max(len(self._waiting), round(self._a_second * BLOCK_S))
        return max(0, block - max(0, self._tokens))

    async def _ask(
        self, share: AsyncScript, want: int, refused: tuple[int, float] | None = None, succeeded: int = 0
    ) -> list[int]:
        epoch, pause_s = refused or (-1, 0.0)
        answer: list[int] = await share(
            keys=self._keys,
            args=[
                self._token,
                self._at_once,
                self._a_second or 0,
                self._in_use,
                want,
                self._tokens_wanted(),
                epoch,
                round(pause_s * 1000),
                succeeded,
            ],
        )
        return answer


class LocalPace:
    """The same rules for one process alone: its part of the budget, the pause after a 429, one more a success."""

    def __init__(self, at_once: int, a_second: float | None) -> None:
        self._at_once, self._a_second = at_once, a_second
        self._window, self._strikes, self._epoch = at_once, 0, 0
        self._paused_until = 0.0
        self._tokens, self._filled_at = 1.0, 0.0

    def ask(self, want: int, tokens: int, refused: tuple[int, float] | None, succeeded: int) -> list[int]:
        """How many may be under way, how many more may start, the epoch, and for how many ms more nobody may ask."""
        now = asyncio.get_running_loop().time()
        if refused is not None and refused[0] == self._epoch:
            self._strikes, self._epoch, self._window = self._strikes + 1, self._epoch + 1, 1
            self._paused_until = now + max(refused[1], min(30.0, 0.5 * 2 ** (self._strikes - 1)))
        elif succeeded:
            self._strikes, self._window = 0, min(self._at_once, self._window + succeeded)
        if now < self._paused_until:
            return [0, 0, self._epoch, round((self._paused_until - now) * 1000)]
        return [min(want, self._window), self._take_tokens(now, tokens), self._epoch, 0]

    def _take_tokens(self, now: float, tokens: int) -> int:
        if self._a_second is None:
            return 0
        self._tokens = min(max(1.0, self._a_second / 2), self._tokens + (now - self._filled_at) * self._a_second)
        self._filled_at = now
        given = min(tokens, int(self._tokens))
        self._tokens -= given
        return given
