public import ProtocolMessages
public import ProtocolModel
public import ProtocolWire

/// What the listener asks of the manager. Each session has at most one call in progress, so that awaiting one is the
/// back-pressure: until it returns, nothing more is read from that agent, and only from that one.
public protocol FleetBackend: Sendable {
    /// Where the manager that leads has its agents, for those whom `notLeader` sends away; `nil` where that is not known.
    var leaderAddress: String? { get }

    /// Whether a peer with a genuine certificate may come in: the place for revoked and removed nodes. `nil` lets it.
    func admit(_ peer: VerifiedPeer) async -> SessionRefusal?

    /// A node joins with a token (`peer` is `nil`) or renews its certificate (`peer` is the node).
    func enrol(
        _ request: Roost_V1_EnrolmentRequest, peer: VerifiedPeer?, remoteAddress: String
    ) async -> Result<Roost_V1_EnrolmentAnswer, SessionRefusal>

    /// An agent said hello; its identity agrees with its certificate. What is sent to the session before this returns
    /// goes out after `Welcome`. Protocol version and heartbeat interval of the answer are filled in by the listener.
    func open(
        _ hello: Roost_V1_Hello, peer: VerifiedPeer, session: AgentConnection
    ) async -> Result<Roost_V1_Welcome, SessionRefusal>

    /// A message that costs nothing to take in, such as a heartbeat: taken at once, on the connection's thread, which it must
    /// not hold up. `false` leaves it to `received`.
    func receivedAtOnce(_ message: Message, session: AgentConnection) -> Bool

    /// A message of an open session, in order.
    func received(_ message: Message, session: AgentConnection) async

    /// Three heartbeats of an open session were missed (`suspect`), or it was heard again.
    func livenessChanged(_ session: AgentConnection, suspect: Bool) async

    /// The last call for a session that `open` took in. The reason is `nil` where the connection was merely lost.
    func closed(_ session: AgentConnection, reason: SessionRefusal?) async
}

extension FleetBackend {
    public func receivedAtOnce(_ message: Message, session: AgentConnection) -> Bool { false }

    public var leaderAddress: String? { nil }

    public func livenessChanged(_ session: AgentConnection, suspect: Bool) async {}
}
