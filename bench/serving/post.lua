-- Sends the requests in the files named on the command line in turn, and prints what came of them as one line of JSON.
local requests, sent = {}, 0

function init(names)
  for i, name in ipairs(names) do
    local file = assert(io.open(name, "rb"))
    requests[i] = file:read("*a")
    file:close()
  end
end

function request()
  sent = sent + 1
  return requests[(sent - 1) % #requests + 1]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\nRESULT {"requests": %d, "microseconds": %d, "refused": %d, "lost": %d, "median_us": %d, "p99_us": %d}\n',
    summary.requests, summary.duration, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
