-- Which time of a schedule was claimed last, in the record of the schedule's lease. KEYS: the record.
-- ARGV: what is asked ('last', 'take'), my token, the schedule's rhythm; to take: the time ('' where times have no
-- names), for how many ms it has been over, a mark of this asking.
local record = redis.call('HMGET', KEYS[1], 'token', 'held', 'rhythm', 'due', 'at', 'taken')
if record[1] ~= ARGV[2] or record[2] ~= '1' then
  return { 'others' }
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local known = record[3] == ARGV[3]
if ARGV[1] == 'last' then
  if not known then
    return { 'none' }
  end
  return { 'last', record[4], string.format('%.0f', math.max(now - record[5], 0)) }
end
-- Asked before, and the answer was lost.
if record[6] == ARGV[6] then
  return { 'taken' }
end
if known and record[4] ~= '' and ARGV[4] ~= '' and tonumber(record[4]) >= tonumber(ARGV[4]) then
  return { 'passed' }
end
redis.call('HSET', KEYS[1], 'rhythm', ARGV[3], 'due', ARGV[4], 'at', string.format('%.0f', now - ARGV[5]), 'taken', ARGV[6])
return { 'taken' }
