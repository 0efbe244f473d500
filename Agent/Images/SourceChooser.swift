import ProtocolModel
import ProtocolTransfer

/// Decides which source to pull from next. Pure: told what happened and when.
///
/// The first source is the best. One that is not ready (its assignment or its first chunks are still on their way) is
/// waited for during a patience, since falling over at once would send a whole chain to the manager. One that broke is
/// left alone for a while, longer each time; one that lied for much longer.
struct SourceChooser {
    enum Failure: Equatable {
        /// Cannot be reached, does not hold the image, or does not permit it yet.
        case notReady
        /// Alive, but waits for the chunk itself.
        case stalled
        /// The connection or the protocol broke.
        case broken
        /// Sent a chunk or manifest that did not match its digest.
        case lied
    }

    enum Choice: Equatable {
        case use(ChunkSource)
        case wait(until: ContinuousClock.Instant)
        case none
    }

    struct Patience: Sendable {
        var notReady = Duration.seconds(3)
        var stalled = Duration.seconds(15)
        var retry = Duration.milliseconds(100)
        var firstBackoff = Duration.seconds(2)
        var longestBackoff = Duration.seconds(60)
        var lied = Duration.seconds(600)
    }

    private struct State {
        var retryAt: ContinuousClock.Instant?
        /// No progress since then.
        var troubledSince: ContinuousClock.Instant?
        /// While set, sources behind this one are not used.
        var holds = false
        var backoff: Duration?
    }

    private(set) var sources: [ChunkSource] = []
    private var states: [ChunkSource: State] = [:]
    private let patience: Patience

    init(patience: Patience = Patience()) { self.patience = patience }

    /// Takes a new order; what is known of sources that stay is kept.
    mutating func update(_ sources: [ChunkSource]) {
        self.sources = sources
        states = states.filter { sources.contains($0.key) }
    }

    func next(now: ContinuousClock.Instant) -> Choice {
        var earliest: ContinuousClock.Instant?
        for source in sources {
            guard let state = states[source], let retryAt = state.retryAt, retryAt > now else { return .use(source) }
            earliest = min(earliest ?? retryAt, retryAt)
            if state.holds { return .wait(until: retryAt) }
        }
        return earliest.map { .wait(until: $0) } ?? .none
    }

    mutating func progressed(_ source: ChunkSource) { states[source] = nil }

    mutating func failed(_ source: ChunkSource, _ failure: Failure, now: ContinuousClock.Instant) {
        guard sources.contains(source) else { return }
        var state = states[source] ?? State()
        let since = state.troubledSince ?? now
        state.troubledSince = since
        state.holds = false
        let allowance: Duration? =
            switch failure {
            case .notReady: patience.notReady
            case .stalled: patience.stalled
            case .broken, .lied: nil
            }
        if let allowance, now - since < allowance {
            state.holds = true
            state.retryAt = now + patience.retry
        } else if failure == .lied {
            state.retryAt = now + patience.lied
        } else {
            let wait = state.backoff ?? patience.firstBackoff
            state.backoff = min(wait * 2, patience.longestBackoff)
            state.retryAt = now + wait
        }
        states[source] = state
    }
}
