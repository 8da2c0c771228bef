-- Says in one line of JSON what wrk prints for people, and the percentile that it does not print.
-- With the argument `count` it also counts how often each body came: of /whoami, who answered how often.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  bodies = {}
  if arguments[1] == "count" then
    function response(_, _, body)
      bodies[body] = (bodies[body] or 0) + 1
    end
  end
end

function done(summary, latency, _)
  local counts = {}
  for _, thread in ipairs(threads) do
    for body, count in pairs(thread:get("bodies")) do
      table.insert(counts, string.format("%q:%d", body, count))
    end
  end
  local errors = summary.errors
  print(string.format(
    '{"requests":%d,"us":%d,"p50":%d,"p99":%d,"p999":%d,"refused":%d,"broken":%d,"timeouts":%d,"status":%d,"bodies":{%s}}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    errors.connect, errors.read + errors.write, errors.timeout, errors.status, table.concat(counts, ",")
  ))
end
