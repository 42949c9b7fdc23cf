"""The Lua scripts of the dispatch, on ARQ's own keys.

A queue is ARQ's sorted set of job ids. A score is either a time in milliseconds, as in ARQ (a delayed job's due time, a
running job's lease end), or, for a job that may run now, a *virtual start time*, far below any time: the turn at which
its run comes round again. So the lowest scores are the fair order, and a stock ARQ worker, which takes scores up to
now from the lowest, keeps to it too.

Fairness is start-time fair queueing (Goyal, Vin, Cheng 1996) with equal weights: a run's next job starts one turn after
its last one, but never before the turn that the queue has reached. What has waited for a time (a retry, a dead
worker's job) goes first.

A claim holds `arq:in-progress:<id>` (the claimer's token) and moves the score to the lease's end, so a dead worker's
job becomes claimable by itself.
"""

from __future__ import annotations

import msgspec

from app.redis_keys import RedisKeys

FIRST_TIME_SCORE = 1_000_000_000_000
"""Scores from here on are times in ms (2001 and later); those below are virtual start times."""

PRELUDE = """
local HELD, JOB, RETRY = '{held}', '{job}', '{retry}'
local FIRST = {first}
local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
"""

_SEND = """
-- KEYS: queue, wake, fair; ARGV: payload_ttl_ms, the first id's payload, ids, their runs, their wait_ms
-- The last three are lists with line feeds between: thousands of arguments would cost more than all the rest. Ids are
-- of one length, so that each payload is the first one's with another id in it.
-- Adds what is not known yet; wait_ms '-' means: may run now, in its run's turn.
local queue, wake, fair = KEYS[1], KEYS[2], KEYS[3]
local ttl, added, now = ARGV[1], 0, nil
local next_run, next_wait = string.gmatch(ARGV[4], '[^\\n]+'), string.gmatch(ARGV[5], '[^\\n]+')
local before, after
local first = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')[2]
local turn = first and tonumber(first) or FIRST
local last, forgotten = {}, turn >= FIRST
if forgotten then turn = 0; redis.call('DEL', fair) end
for id in string.gmatch(ARGV[3], '[^\\n]+') do
  local run, wait = next_run(), next_wait()
  if not before then
    local from, to = string.find(ARGV[2], id, 1, true)
    before, after = string.sub(ARGV[2], 1, from - 1), string.sub(ARGV[2], to + 1)
  end
  local score
  if wait == '-' then
    last[run] = last[run] or tonumber(not forgotten and redis.call('HGET', fair, run) or '0')
    score = math.max(turn, last[run]) + 1
  else
    now = now or clock()
    score = now + tonumber(wait)
  end
  if redis.call('ZADD', queue, 'NX', score, id) == 1 then
    redis.call('SET', JOB .. id, before .. id .. after, 'PX', ttl)
    if wait == '-' then last[run] = score end
    added = added + 1
  end
end
for run, score in pairs(last) do redis.call('HSET', fair, run, score) end
if added > 0 then redis.call('ZADD', wake, 0, 'w') end
return added
"""

_EXCHANGE = """
-- KEYS: queue, wake, kept; ARGV: token, lease_ms, room, keep_ms, n_done, done ids, (id, wait_ms)* to be looked at again
-- Forgets what ended, puts back what waits, and leases as many as there is room for. Returns {ids, ms to the next}.
-- Where nothing came the room is kept for keep_ms: a call whose room is 'kept' has it, and what it leases ends it.
-- Where none is kept that does nothing: to set the marker would wake who cannot take what there is, again and again.
local queue, wake, kept = KEYS[1], KEYS[2], KEYS[3]
local token, lease, keep, done = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5])
local room = tonumber(ARGV[3] == 'kept' and redis.call('GET', kept) or ARGV[3])
if not room then return {{}, -1} end
local now = clock()
for i = 6, 5 + done do
  local id = ARGV[i]
  local holder = redis.call('GET', HELD .. id)
  if not holder or holder == token then
    redis.call('DEL', HELD .. id, JOB .. id, RETRY .. id)
    redis.call('ZREM', queue, id)
  end
end
for i = 6 + done, #ARGV, 2 do
  local id = ARGV[i]
  local holder = redis.call('GET', HELD .. id)
  if not holder or holder == token then
    redis.call('DEL', HELD .. id)
    redis.call('ZADD', queue, now + tonumber(ARGV[i+1]), id)
  end
end
local ids = {}
if room > 0 then
  local function take(low, high)
    local ready = redis.call('ZRANGEBYSCORE', queue, low, high, 'LIMIT', 0, room - #ids)
    for _, id in ipairs(ready) do
      if redis.call('SET', HELD .. id, token, 'PX', lease, 'NX') then
        redis.call('ZADD', queue, now + lease, id)
        ids[#ids+1] = id
      else
        redis.call('ZADD', queue, now + 1000, id)  -- a stock ARQ worker holds it: look again in a second
      end
    end
  end
  take(FIRST, now)
  if #ids < room then take('-inf', '(' .. FIRST) end
end
local next_ms = -1
local virtual = redis.call('ZRANGEBYSCORE', queue, '-inf', '(' .. FIRST, 'LIMIT', 0, 1)
if #virtual > 0 then
  next_ms = 0
else
  local first = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')[2]
  if first then next_ms = math.max(0, tonumber(first) - now) end
end
if next_ms == 0 then redis.call('ZADD', wake, 0, 'w') end
if #ids > 0 or keep == 0 then
  redis.call('DEL', kept)
elseif ARGV[3] ~= 'kept' then
  redis.call('SET', kept, room, 'PX', keep)
end
return {ids, next_ms}
"""

_RENEW = """
-- KEYS: queue; ARGV: token, lease_ms, ids. A lease that vanished is put back; returns the ids that another holds.
local queue, token, lease = KEYS[1], ARGV[1], tonumber(ARGV[2])
local now, lost = clock(), {}
for i = 3, #ARGV do
  local id = ARGV[i]
  local holder = redis.call('GET', HELD .. id)
  if holder and holder ~= token then
    lost[#lost+1] = id
  else
    redis.call('SET', HELD .. id, token, 'PX', lease)
    redis.call('ZADD', queue, now + lease, id)
  end
end
return lost
"""

_KNOWN = """
-- KEYS: queue; ARGV: ids. Returns those that are neither queued nor leased.
local unknown = {}
for _, id in ipairs(ARGV) do
  if not redis.call('ZSCORE', KEYS[1], id) then unknown[#unknown+1] = id end
end
return unknown
"""


class Scripts(msgspec.Struct, frozen=True):
    """The scripts for the keys of one prefix."""

    send: str
    exchange: str
    renew: str
    known: str


def scripts_for(keys: RedisKeys) -> Scripts:
    """The scripts with the names of a job's keys in them: passing those with each call would cost more."""
    prelude = PRELUDE.format(held=keys.held(""), job=keys.job(""), retry=keys.retry(""), first=FIRST_TIME_SCORE)
    return Scripts(*(prelude + body for body in (_SEND, _EXCHANGE, _RENEW, _KNOWN)))
