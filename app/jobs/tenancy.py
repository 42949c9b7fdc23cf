"""Whose keys these are: two installations on the same keys would throw each other's messages away.

    hold, every two seconds ─▶ nobody's, or ours ─▶ ours for ten seconds more
                            └▶ another's ─▶ is it renewed? ─▶ it lives: an error that names REDIS_PREFIX
                                                           └▶ it runs out, and the next one takes the keys over

So only use at the same time is an error; a database that was made anew takes over by itself. The key may vanish at any
time: whoever comes next puts it back.
"""

from __future__ import annotations

import time

LIFE_MS = 10_000
HOLD_EVERY_S = 2.0
MOVED_S = 0.5
"""An end of the other's time that surely moved by more than this was moved by a living process."""
OTHERS_WAIT_MS = 10_000
"""When to look again at a message that seems to be the other's."""

HOLD = """
-- KEYS: installation; ARGV: id, life_ms. Returns the holder, and for how long it holds.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  local left = redis.call('PTTL', KEYS[1])
  if left > 0 then return {holder, left} end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {ARGV[1], tonumber(ARGV[2])}
"""
LET_GO = """
-- KEYS: installation, workers; ARGV: id. The last worker's end is the installation's.
if redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('ZCARD', KEYS[2]) == 0 then redis.call('DEL', KEYS[1]) end
"""


class Tenancy:
    """What one process knows of it."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.id: str | None = None
        """Which installation we are: a word for our database; None until it was asked."""
        self.foreign = False
        """Another holds the keys, so nothing is taken from them."""
        self.alive = False
        """And that one lives."""
        self._ends_by = 0.0

    def note(self, holder: str, left_ms: int, asked_at: float) -> None:
        """What Redis said of the holder to a question of `asked_at` (`time.monotonic`).

        Redis measured the time that is left somewhere between the question and now. On a busy machine there are
        seconds between them, which must not look like a holder's renewal.
        """
        if holder == self.id:
            self.foreign = self.alive = False
            return
        left_s = left_ms / 1000
        if self.foreign and asked_at + left_s > self._ends_by + MOVED_S:
            self.alive = True
        self.foreign, self._ends_by = True, time.monotonic() + left_s

    @property
    def conflict(self) -> str:
        """What an operator is told."""
        where = f"the prefix {self._prefix}" if self._prefix else "no prefix"
        return (
            f"another installation, with another database, uses the same keys ({where}): "
            "give each installation its own REDIS_PREFIX, or stop the other one"
        )
