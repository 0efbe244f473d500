-- For wrk: the same request over and over. The environment gives METHOD, REQUEST_PATH, and where there are any AUTHORIZATION,
-- CONTENT_TYPE and BODY, whose lines are sent in turn; EXPECT is the status that counts (200 if not given).

local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

function init()
    local headers = { ["Authorization"] = os.getenv("AUTHORIZATION"), ["Content-Type"] = os.getenv("CONTENT_TYPE") }
    wrk.method = os.getenv("METHOD") or "GET"
    messages, sent = {}, 0
    for body in (os.getenv("BODY") or ""):gmatch("[^\n]+") do
        table.insert(messages, wrk.format(wrk.method, os.getenv("REQUEST_PATH"), headers, body))
    end
    if #messages == 0 then messages = { wrk.format(wrk.method, os.getenv("REQUEST_PATH"), headers) } end
    expected = tonumber(os.getenv("EXPECT") or "200")
    others = 0
end

function request()
    sent = sent + 1
    return messages[sent % #messages + 1]
end

function response(status)
    if status ~= expected then others = others + 1 end
end

-- One line for the benchmark: answered, with another status, other errors, microseconds, then latencies in microseconds.
function done(summary, latency)
    local errors, others = summary.errors, 0
    for _, thread in ipairs(threads) do others = others + thread:get("others") end
    print(string.format("figures %d %d %d %d %d %d %d", summary.requests, others,
        errors.connect + errors.read + errors.write + errors.timeout, summary.duration,
        latency:percentile(50), latency:percentile(99), latency.max))
end
