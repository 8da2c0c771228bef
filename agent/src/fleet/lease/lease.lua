-- Who has a lease. KEYS: the lease's record, the last token of all leases.
-- ARGV: what is asked ('contend', 'renew', 'release'), my token or the mark that I saw unchanged for long enough
-- ('' if neither), a new mark, this life of the server, me.
local record = redis.call('HMGET', KEYS[1], 'token', 'mark', 'held', 'run')
local function write(token, held, run)
  redis.call('HSET', KEYS[1], 'token', token, 'mark', ARGV[3], 'held', held, 'run', run, 'by', ARGV[5])
  -- Nothing rests on this: a record that is missing is as good as one that is held. It only takes out the rubbish.
  redis.call('PEXPIRE', KEYS[1], 86400000)
end
if ARGV[1] ~= 'contend' then
  if record[1] ~= ARGV[2] or record[3] ~= '1' then
    return { 'others', record[2] or '' }
  end
  if ARGV[1] == 'renew' then
    write(ARGV[2], '1', ARGV[4])
    return { 'held', ARGV[2] }
  end
  write(ARGV[2], '0', ARGV[4])
  return { 'released', ARGV[3] }
end
if not record[2] then
  -- Nobody knows whether it is held: it may be new, or the data is lost. From here on the mark can be watched.
  write('0', '0', '')
  return { 'others', ARGV[3] }
end
-- Given back in this life of the server; in another one that may be old news.
local free = record[3] == '0' and record[4] == ARGV[4]
if not free and record[2] ~= ARGV[2] then
  return { 'others', record[2] }
end
local t = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
-- From the clock, so that tokens go on growing when the last one is lost.
local token = string.format('%.0f', math.max(last + 1, t[1] * 1000000 + t[2]))
redis.call('SET', KEYS[2], token)
write(token, '1', ARGV[4])
return { 'held', token }
