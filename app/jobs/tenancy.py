"""Whose keys these are: two installations on the same keys would throw each other's messages away.

    hold, every two seconds ─▶ nobody's, or ours ─▶ ours for ten seconds more
                            └▶ another's ─▶ is it renewed? ─▶ it lives: an error that names REDIS_PREFIX
                                                           └▶ it runs out, and the next one takes the keys over

So only use at the same time is an error; a database that was made anew takes over by itself. The keys may vanish at any
time: whoever comes next puts them back.

Database and schema have a key each. Programs of 0.1.0 know the first alone, and beside those of today they find what
they expect there.
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
-- KEYS: installation, schema; ARGV: id, schema, life_ms. Returns whether both are ours, and for how long they are held.
for i = 1, 2 do
  local holder = redis.call('GET', KEYS[i])
  if holder and holder ~= ARGV[i] then
    local left = redis.call('PTTL', KEYS[i])
    if left > 0 then return {0, left} end
  end
end
for i = 1, 2 do redis.call('SET', KEYS[i], ARGV[i], 'PX', ARGV[3]) end
return {1, tonumber(ARGV[3])}
"""
LET_GO = """
-- KEYS: installation, schema, workers; ARGV: id, schema. The last worker's end is the installation's.
if redis.call('ZCARD', KEYS[3]) > 0 then return end
for i = 1, 2 do
  if redis.call('GET', KEYS[i]) ~= ARGV[i] then return end
end
redis.call('DEL', KEYS[1], KEYS[2])
"""


class Tenancy:
    """What one process knows of it."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.id: str | None = None
        """Which installation we are: a word for our database; None until it was asked."""
        self.schema = ""
        """And the schema in it."""
        self.foreign = False
        """Another holds the keys, so nothing is taken from them."""
        self.alive = False
        """And that one lives."""
        self._ends_by = 0.0

    def note(self, left_ms: int, asked_at: float, *, ours: bool) -> None:
        """What Redis said of the holder to a question of `asked_at` (`time.monotonic`).

        Redis measured the time that is left somewhere between the question and now. On a busy machine there are
        seconds between them, which must not look like a holder's renewal.
        """
        if ours:
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
            f"another installation, with another database or schema, uses the same keys ({where}): "
            "give each installation its own REDIS_PREFIX, or stop the other one"
        )
