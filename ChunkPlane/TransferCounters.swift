public import ProtocolModel
import Synchronization

/// Bytes of images that went to and came from each peer, for `/metrics` and for tests of chains.
public final class TransferCounters: Sendable {
    public struct Count: Hashable, Sendable {
        /// Payload of chunks as it travelled, without TLS and frame headers.
        public var servedBytes: Int64 = 0
        public var receivedBytes: Int64 = 0
        public var servedChunks: Int64 = 0
        public var receivedChunks: Int64 = 0
        /// Chunks from this peer that did not match their digest.
        public var corruptChunks: Int64 = 0
    }

    public struct Snapshot: Sendable {
        public var peers: [PeerIdentity: Count] = [:]
        /// Connections refused, by reason.
        public var refusals: [SessionRefusal: Int64] = [:]
        public var connections = 0

        public var servedBytes: Int64 { peers.values.reduce(0) { $0 + $1.servedBytes } }
        public var receivedBytes: Int64 { peers.values.reduce(0) { $0 + $1.receivedBytes } }
    }

    /// Identities are certified by the site; the bound only guards against a site that renews nodes for ever.
    private static let maximumPeers = 65_536
    private let state = Mutex(Snapshot())

    public init() {}

    public func snapshot() -> Snapshot { state.withLock { $0 } }

    func served(_ bytes: Int, to peer: PeerIdentity) {
        change(peer) {
            $0.servedBytes += Int64(bytes)
            $0.servedChunks += 1
        }
    }

    func received(_ bytes: Int, from peer: PeerIdentity) {
        change(peer) {
            $0.receivedBytes += Int64(bytes)
            $0.receivedChunks += 1
        }
    }

    func corrupt(from peer: PeerIdentity) { change(peer) { $0.corruptChunks += 1 } }

    func refused(_ refusal: SessionRefusal) { state.withLock { $0.refusals[refusal, default: 0] += 1 } }

    func connectionsChanged(by difference: Int) { state.withLock { $0.connections += difference } }

    private func change(_ peer: PeerIdentity, _ body: (inout Count) -> Void) {
        state.withLock { state in
            guard state.peers[peer] != nil || state.peers.count < Self.maximumPeers else { return }
            body(&state.peers[peer, default: Count()])
        }
    }
}
