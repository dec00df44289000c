-- The load of one measurement. Arguments: a file of paths to GET, one of them at random for each request; the share
-- of creates; the path to POST to; a prefix that makes the e-mail addresses of this measurement unlike all others.
-- Afterwards it prints one line of JSON behind MARK, for bench/wrk.py.

local MARK = "roster-bench "

local gets, creates, share, path, prefix, headers, made = {}, 0, 0, "", "", {}, 0

function init(args)
   share, path, prefix = tonumber(args[2]), args[3], args[4]
   for line in io.lines(args[1]) do
      gets[#gets + 1] = wrk.format("GET", line)
   end
   for name, value in pairs(wrk.headers) do
      headers[name] = value
   end
   headers["Content-Type"] = "application/json"
   math.randomseed(20260101)
end

local function create()
   made = made + 1
   local body = string.format('{"name":"User %d","email":"%s-%d@example.org"}', made, prefix, made)
   return wrk.format("POST", path, headers, body)
end

function request()
   if share > 0 and math.random() < share then
      return create()
   end
   return gets[math.random(#gets)]
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(MARK, string.format(
      '{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"max_us":%d,' ..
      '"errors":{"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d}}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
      errors.connect, errors.read, errors.write, errors.timeout, errors.status
   ))
end
