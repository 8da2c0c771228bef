-- I am here. Whoever has not said so for a while is forgotten.
-- KEYS: what each one says, when each one said it. ARGV: me, what I say, ms until forgotten, how many at most.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
-- The second half: a clock that was set back would keep the dead for as long.
for _, range in ipairs({ { '-inf', '(' .. (now - ARGV[3]) }, { '(' .. (now + ARGV[3]), '+inf' } }) do
  local gone = redis.call('ZRANGEBYSCORE', KEYS[2], range[1], range[2], 'LIMIT', 0, 100)
  if #gone > 0 then
    redis.call('ZREM', KEYS[2], unpack(gone))
    redis.call('HDEL', KEYS[1], unpack(gone))
  end
end
if not redis.call('ZSCORE', KEYS[2], ARGV[1]) and redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], now, ARGV[1])
-- An application that is gone for good leaves nothing behind.
redis.call('PEXPIRE', KEYS[1], 86400000)
redis.call('PEXPIRE', KEYS[2], 86400000)
return redis.call('ZCARD', KEYS[2])
