-- Cycles through request bodies and prints the result as one line of JSON.
-- Arguments: path, number of bodies, directory of `0`, `1`, …, then header names and values in turn. A value
-- `@FILE` is another one with each request, from that file's lines.
local requests = {}
local at = 0
local threads = 0

function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end

function init(args)
  local path, count, directory = args[1], tonumber(args[2]), args[3]
  local headers, bodies, turns, name = {}, {}, {}, nil
  for i = 4, #args, 2 do
    headers[args[i]] = args[i + 1]
    if args[i + 1]:sub(1, 1) == "@" then
      name = args[i]
      for line in io.lines(args[i + 1]:sub(2)) do turns[#turns + 1] = line end
    end
  end
  for i = 0, count - 1 do
    local file = io.open(directory .. "/" .. i, "rb")
    bodies[i] = file:read("*a")
    file:close()
  end
  for i = 0, math.max(count, #turns) - 1 do
    if name then headers[name] = turns[i + 1] end
    requests[i] = wrk.format("POST", path, headers, bodies[i % count])
  end
  -- Neither two threads nor two runs send the same turn within a short time.
  at = name and (os.time() * 7919 + id * math.floor(#turns / 2)) % #turns or math.floor(math.random() * count)
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
