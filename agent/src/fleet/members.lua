-- Who is here. KEYS and ARGV[1], ARGV[2]: as the last two of presence.lua.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local here = redis.call('ZRANGEBYSCORE', KEYS[2], now - ARGV[1], '+inf', 'LIMIT', 0, ARGV[2])
if #here == 0 then
  return {}
end
return redis.call('HMGET', KEYS[1], unpack(here))
