public import ManagerFleet
public import ProtocolModel
public import ProtocolWire
import Synchronization

/// The manager's handle of one agent's session. Its methods may be called from anywhere and never wait.
public final class AgentConnection: Sendable {
    /// Of all connections of this process.
    public let id: ConnectionID
    public let nodeID: NodeID
    /// The peer's IP address and port.
    public let remoteAddress: String
    private let state: Mutex<State>
    private let wire: any AgentWire
    private static let lastNumber = Atomic<UInt64>(0)

    /// Bytes that may wait for a slow peer. One frame always may, whatever its size.
    public static let queuedBytes = 16 * 1024 * 1024

    private struct State {
        var epoch: UInt64 = 0
        var frames = 0
        var bytes = 0
        var end: SessionRefusal?
        var isClosed = false
    }

    init(nodeID: NodeID, remoteAddress: String, wire: any AgentWire) {
        self.id = ConnectionID(Self.lastNumber.add(1, ordering: .relaxed).newValue)
        self.nodeID = nodeID
        self.remoteAddress = remoteAddress
        self.wire = wire
        self.state = Mutex(State())
    }

    /// The session epoch that the backend gave in `Welcome`; 0 before.
    public var epoch: UInt64 { state.withLock { $0.epoch } }

    /// Frames that were accepted and are not in the kernel's hands yet.
    public var queuedFrames: Int { state.withLock { $0.frames } }

    /// Queues a message behind those before it.
    ///
    /// Throws `slowPeer`, and ends the session, where the peer has left too much waiting; `frameTooLarge` for a message
    /// that must be split; `unexpectedMessage` for one that is not the manager's to send; otherwise the reason for which
    /// the session has ended. After a throw nothing of the message goes out.
    public func send(_ message: Message) throws(SessionRefusal) {
        guard ManagerSession.admits(message) else { throw .unexpectedMessage }
        let bytes = try message.encoded()
        enum Verdict { case accepted, slow, closed(SessionRefusal) }
        let verdict: Verdict = state.withLock { state in
            if state.isClosed { return .closed(state.end ?? .shuttingDown) }
            guard
                state.frames == 0
                    || (state.frames < Limits.queuedFrames && state.bytes + bytes.count <= Self.queuedBytes)
            else {
                state.isClosed = true
                state.end = .slowPeer
                return .slow
            }
            state.frames += 1
            state.bytes += bytes.count
            return .accepted
        }
        switch verdict {
        case .accepted:
            wire.write(bytes)
        case .slow:
            wire.end(.slowPeer)
            throw .slowPeer
        case .closed(let reason):
            throw reason
        }
    }

    /// Ends the session with a `Goodbye`. A session that has ended stays as it is.
    public func close(_ refusal: SessionRefusal) {
        wire.end(refusal)
    }

    func welcomed(epoch: UInt64) { state.withLock { $0.epoch = epoch } }

    func written(_ byteCount: Int) {
        state.withLock { state in
            state.frames -= 1
            state.bytes -= byteCount
        }
    }

    func ended(_ refusal: SessionRefusal?) {
        state.withLock { state in
            guard !state.isClosed else { return }
            state.isClosed = true
            state.end = refusal
        }
    }
}

/// The socket's side of a connection, as far as its handle needs it.
protocol AgentWire: Sendable {
    /// Writes the bytes of one frame, in the order of the calls.
    func write(_ bytes: [UInt8])
    func end(_ refusal: SessionRefusal)
}
