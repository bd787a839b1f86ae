-- Cycles through request bodies and prints the result as one line of JSON.
-- Arguments: path, number of bodies, directory of `0`, `1`, …, then header names and values in turn.
local requests = {}
local at = 0

function init(args)
  local path, count, directory = args[1], tonumber(args[2]), args[3]
  local headers = {}
  for i = 4, #args, 2 do headers[args[i]] = args[i + 1] end
  for i = 0, count - 1 do
    local file = io.open(directory .. "/" .. i, "rb")
    requests[i] = wrk.format("POST", path, headers, file:read("*a"))
    file:close()
  end
  at = math.floor(math.random() * count)
end

function request()
  at = (at + 1) % (#requests + 1)
  return requests[at]
end

function done(summary, latency, _)
  local errors = summary.errors
  print(string.format(
    '{"requests":%d,"duration_us":%d,"p50":%g,"p90":%g,"p99":%g,"p999":%g,"max":%g,'
      .. '"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}',
    summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(90), latency:percentile(99),
    latency:percentile(99.9), latency.max,
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
