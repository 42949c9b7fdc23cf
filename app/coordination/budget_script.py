"""The Lua script that shares an origin host's budget among processes; times are Redis's."""

from __future__ import annotations

SHARE_LIFE_MS = 5_000
"""A process that died gives its share back so late."""
STATE_LIFE_MS = 600_000

SHARE = f"""
-- KEYS: state, shares; ARGV: token, limit, rate, in_use, want, want_tokens, refused_epoch, refused_ms, succeeded
-- Returns how many requests of this process may be under way, how many more may start (rate), the epoch, and for how
-- many ms more nobody may ask.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local token, limit, rate = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local in_use, want, want_tokens = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local refused, refused_ms, succeeded = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])

local state = redis.call('HMGET', KEYS[1], 'epoch', 'paused_until', 'strikes', 'window', 'tokens', 'filled_at')
local epoch, paused_until = tonumber(state[1] or '0'), tonumber(state[2] or '0')
local strikes, window = tonumber(state[3] or '0'), math.min(limit, tonumber(state[4] or limit))
local tokens, filled_at = tonumber(state[5] or '1'), tonumber(state[6] or now)
if refused == epoch then
  strikes, epoch, window = strikes + 1, epoch + 1, 1
  paused_until = now + math.max(refused_ms, math.min(30000, 500 * 2 ^ (strikes - 1)))
elseif succeeded > 0 and now >= paused_until then
  strikes, window = 0, math.min(limit, window + succeeded)
end

-- what others have, and what they would have if all got their equal part
local flat = redis.call('HGETALL', KEYS[2])
local held, asked, others, wishing = 0, 0, {{}}, 1
for i = 1, #flat, 2 do
  local granted, wish, until_ms = flat[i+1]:match('(%d+) (%d+) (%d+)')
  if tonumber(until_ms) < now then
    redis.call('HDEL', KEYS[2], flat[i])
  elseif flat[i] ~= token then
    held = held + tonumber(granted)
    if tonumber(wish) > 0 then
      wishing = wishing + 1
      others[#others+1] = tonumber(wish)
    end
  end
end
local part = math.max(1, math.floor(window / wishing))
for _, wish in ipairs(others) do asked = asked + math.min(wish, part) end
local granted = math.max(0, math.min(want, math.max(part, window - asked), window - held))
if now < paused_until then granted = 0 end
if want == 0 then
  redis.call('HDEL', KEYS[2], token)
else
  redis.call('HSET', KEYS[2], token,
    string.format('%d %d %d', math.max(granted, in_use), want, now + {SHARE_LIFE_MS}))
  redis.call('PEXPIRE', KEYS[2], {SHARE_LIFE_MS})
end

local given = 0
if rate > 0 and now >= paused_until then
  local pace = rate * window / limit
  tokens = math.min(math.max(1, pace / 2), tokens + (now - filled_at) / 1000 * pace)
  given = math.min(want_tokens, math.floor(tokens))
  tokens = tokens - given
end
redis.call('HSET', KEYS[1], 'epoch', epoch, 'paused_until', paused_until, 'strikes', strikes, 'window', window,
  'tokens', tokens, 'filled_at', now)
redis.call('PEXPIRE', KEYS[1], {STATE_LIFE_MS})
return {{granted, given, epoch, math.max(0, paused_until - now)}}
"""
