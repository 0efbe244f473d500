public import AgentManagers
public import ProtocolMessages
public import ProtocolWire

/// The agent's work behind its uplink. Calls of one session come one at a time and in order; `heartbeat` may come beside
/// another call.
public protocol UplinkDelegate: Sendable {
    /// What to say first. Identity and protocol versions are filled in by the uplink.
    func hello() async -> Roost_V1_Hello

    /// A session stands. The manager knows nothing sure of this node yet: inventory and a full status report are to be
    /// sent through `send` now, and after each later start too. Nothing sent in an earlier session is repeated by the
    /// uplink.
    func sessionStarted(_ welcome: Roost_V1_Welcome, send: UplinkSender) async

    /// A message of the manager: assignments, acknowledgements. Until this returns nothing more is read.
    func received(_ message: Message) async

    /// Load figures for a heartbeat; the sequence number is filled in by the uplink.
    func heartbeat() async -> Roost_V1_Heartbeat

    /// The last call for a session that `sessionStarted` was called for.
    func sessionEnded(_ end: SessionEnd) async

    /// A manager named all managers of the site: to be kept durably, for the next start.
    /// Where that fails they are learned again in the next session.
    func managersLearned(_ managers: [ManagerAddress]) async

    /// The certificate was renewed. To be kept durably before this returns; where that fails the old one stays in use
    /// and the renewal is tried again.
    func certificateRenewed(_ identity: EnrolledIdentity) async throws
}

extension UplinkDelegate {
    public func managersLearned(_ managers: [ManagerAddress]) async {}
}
