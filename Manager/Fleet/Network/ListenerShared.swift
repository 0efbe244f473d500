import Logging
import ProtocolModel
import ProtocolTrust
import ProtocolWire
import Synchronization

/// What all connections of one listener share.
final class ListenerShared: Sendable {
    let backend: any FleetBackend
    let anchor: TrustAnchor
    let times: SessionTimes
    let versions: ClosedRange<UInt32>
    let time: any TimeSource
    let logger: Logger
    let counters: ListenerCounters
    let gate: AdmissionGate
    let jobs: AsyncStream<@Sendable () async -> Void>
    private let jobSink: AsyncStream<@Sendable () async -> Void>.Continuation
    private let live = Mutex(Live())

    private struct Live {
        var sessions: [ObjectIdentifier: any AgentWire] = [:]
        var isStopping = false
        var drained: CheckedContinuation<Void, Never>?
    }

    init(
        backend: any FleetBackend, anchor: TrustAnchor, times: SessionTimes, versions: ClosedRange<UInt32>,
        time: any TimeSource, logger: Logger, counters: ListenerCounters, gate: AdmissionGate
    ) {
        self.backend = backend
        self.anchor = anchor
        self.times = times
        self.versions = versions
        self.time = time
        self.logger = logger
        self.counters = counters
        self.gate = gate
        // Needs no bound of its own: each connection has at most one job here, and connections are bounded.
        (jobs, jobSink) = AsyncStream.makeStream(of: (@Sendable () async -> Void).self)
    }

    /// Runs a job as a child of the listener's `run`.
    func submit(_ job: @escaping @Sendable () async -> Void) { jobSink.yield(job) }

    /// `false` where the listener is stopping and takes no more connections.
    func add(_ key: ObjectIdentifier, _ wire: any AgentWire) -> Bool {
        live.withLock { live in
            guard !live.isStopping else { return false }
            live.sessions[key] = wire
            return true
        }
    }

    func remove(_ key: ObjectIdentifier) {
        let drained: CheckedContinuation<Void, Never>? = live.withLock { live in
            live.sessions[key] = nil
            guard live.isStopping, live.sessions.isEmpty else { return nil }
            defer { live.drained = nil }
            return live.drained
        }
        drained?.resume()
    }

    /// Ends every session with a word of goodbye and returns once the backend knows of each.
    func stop() async {
        let wires = live.withLock { live in
            live.isStopping = true
            return Array(live.sessions.values)
        }
        for wire in wires { wire.end(.shuttingDown) }
        await withCheckedContinuation { continuation in
            let done = live.withLock { live in
                if live.sessions.isEmpty { return true }
                live.drained = continuation
                return false
            }
            if done { continuation.resume() }
        }
        jobSink.finish()
    }
}
