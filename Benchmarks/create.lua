-- For wrk: each request creates one instance, as `roost instance create` does, with an idempotency key of its own.
-- The environment gives ROOST_TOKEN, and a flavor and an image named `benchmark` exist.

local threads = 0

function setup(thread)
    threads = threads + 1
    thread:set("number", threads)
end

function init()
    made = 0
    prefix = string.format("load-%d-%d", os.time(), number)
    headers = {
        ["Authorization"] = "Bearer " .. os.getenv("ROOST_TOKEN"),
        ["Content-Type"] = "application/json",
    }
end

function request()
    made = made + 1
    local name = prefix .. "-" .. made
    headers["Idempotency-Key"] = name
    return wrk.format("POST", "/v1/instances", headers,
        '{"name":"' .. name .. '","flavor":"benchmark","image":"benchmark"}')
end

-- One line for the benchmark: answered, refused, other errors, microseconds, then latencies in microseconds.
function done(summary, latency)
    local errors = summary.errors
    print(string.format("figures %d %d %d %d %d %d %d", summary.requests, errors.status,
        errors.connect + errors.read + errors.write + errors.timeout, summary.duration,
        latency:percentile(50), latency:percentile(99), latency.max))
end
