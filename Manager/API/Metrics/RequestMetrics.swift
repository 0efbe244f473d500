import Synchronization

/// Counts requests by route pattern, never by path, so that the number of series is bounded by the route table.
final class RequestMetrics: Sendable {
    struct Key: Hashable {
        var method: String
        var pattern: String
        var status: Int
    }
    struct Times {
        var buckets: [Int]
        var sum = 0.0
        var count = 0
    }
    struct State {
        var requests: [Key: Int] = [:]
        var times: [String: Times] = [:]
        var running = 0
    }

    /// Upper bounds in seconds.
    static let bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

    private let state = Mutex(State())

    func began() { state.withLock { $0.running += 1 } }

    func ended(method: String, pattern: String, status: Int, seconds: Double) {
        state.withLock { state in
            state.running -= 1
            state.requests[Key(method: method, pattern: pattern, status: status), default: 0] += 1
            var times = state.times[pattern] ?? Times(buckets: Array(repeating: 0, count: Self.bounds.count))
            for (index, bound) in Self.bounds.enumerated() where seconds <= bound { times.buckets[index] += 1 }
            times.sum += seconds
            times.count += 1
            state.times[pattern] = times
        }
    }

    var families: [MetricFamily] {
        let state = state.withLock { $0 }
        let requests = state.requests.sorted {
            ($0.key.pattern, $0.key.method, $0.key.status) < ($1.key.pattern, $1.key.method, $1.key.status)
        }
        .map { key, count in
            MetricFamily.Sample(
                Double(count),
                labels: [("method", key.method), ("route", key.pattern), ("status", String(key.status))])
        }
        let times = state.times.sorted { $0.key < $1.key }.flatMap { pattern, times in
            let buckets = zip(Self.bounds, times.buckets).map { bound, count in
                MetricFamily.Sample(
                    Double(count), labels: [("route", pattern), ("le", String(bound))], suffix: "_bucket")
            }
            return buckets + [
                MetricFamily.Sample(
                    Double(times.count), labels: [("route", pattern), ("le", "+Inf")], suffix: "_bucket"),
                MetricFamily.Sample(times.sum, labels: [("route", pattern)], suffix: "_sum"),
                MetricFamily.Sample(Double(times.count), labels: [("route", pattern)], suffix: "_count"),
            ]
        }
        return [
            MetricFamily(
                "roost_api_requests_total", .counter, help: "Requests answered, by route and status.", samples: requests
            ),
            MetricFamily("roost_api_request_seconds", .histogram, help: "Time to answer, by route.", samples: times),
            .gauge("roost_api_requests_running", help: "Requests being answered now.", Double(state.running)),
        ]
    }
}
