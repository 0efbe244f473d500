public import ProtocolModel
import Synchronization

/// Counts of what came to the agents' port, for `/metrics` and the log.
public final class ListenerCounters: Sendable {
    public struct Values: Sendable, Equatable {
        /// Connections that were accepted.
        public var accepted: UInt64 = 0
        /// Sessions that were welcomed.
        public var opened: UInt64 = 0
        /// Certificates that were signed for joining nodes and renewals.
        public var enrolled: UInt64 = 0
        /// Connections that never finished their TLS handshake.
        public var handshakesFailed: UInt64 = 0
        /// Sessions and connections that this side ended, by reason.
        public var refusals: [SessionRefusal: UInt64] = [:]
        /// Connections that have not been welcomed yet.
        public var pending = 0
        /// Sessions that stand.
        public var open = 0
    }

    private let state = Mutex(Values())

    public init() {}

    public var values: Values { state.withLock { $0 } }

    func update(_ change: (inout Values) -> Void) { state.withLock { change(&$0) } }

    func refused(_ refusal: SessionRefusal) { update { $0.refusals[refusal, default: 0] += 1 } }
}
