public import ProtocolMessages
public import ProtocolModel
import SwiftProtobuf

/// What TLS said about the other end before its first frame.
public enum PeerCredential: Hashable, Sendable {
    /// No certificate was presented: the peer may only enrol.
    case none
    case verified(VerifiedPeer)
    case rejected(SessionRefusal)
}

/// The manager's end of a session, without its socket.
///
///     awaiting first --Hello--> opening --welcome()--> established --> closed
///          |  \--EnrolmentRequest--> enrolling --enrolled()----------^
///          \---- rejected credential, refusal, time-out -------------^
///
/// Opening and enrolling wait for the manager's own work; the agent has nothing to say meanwhile. Every event returns
/// the actions to carry out, in order. Nothing that a peer sends can trap (P10).
public struct ManagerSession: Sendable {
    public enum State: Hashable, Sendable {
        case awaitingFirst
        case opening
        case enrolling
        case established
        case closed(SessionEnd)
    }

    public enum Action: Hashable, Sendable {
        case send(Message)
        /// The peer is who it says it is: `welcome` or `refuse` is to follow.
        case open(Roost_V1_Hello, VerifiedPeer)
        /// A node joins (no peer) or renews its certificate (the peer): `enrolled` or `refuse` is to follow.
        case enrol(Roost_V1_EnrolmentRequest, VerifiedPeer?)
        /// A message for the manager's work.
        case deliver(Message)
        case stream(StreamTable.Event)
        /// Three heartbeats were missed; the session stays.
        case suspect
        /// A suspect node was heard again.
        case recovered
        /// To be carried out after the sends before it.
        case close(SessionEnd)
    }

    public private(set) var state = State.awaitingFirst
    public private(set) var streams = StreamTable(side: .manager)
    public private(set) var isSuspect = false
    /// The number of the last heartbeat.
    public private(set) var lastHeartbeat: UInt64 = 0
    private let credential: PeerCredential
    private let versions: ClosedRange<UInt32>
    private let times: SessionTimes
    private var started: Uptime
    private var lastHeard: Uptime
    private var negotiated: UInt32 = 0
    private var renewing = false

    public init(
        credential: PeerCredential, times: SessionTimes = SessionTimes(),
        versions: ClosedRange<UInt32> = ProtocolVersion.supported, at now: Uptime
    ) {
        self.credential = credential
        self.versions = versions
        self.times = times
        self.started = now
        self.lastHeard = now
    }

    /// The TLS handshake is done. A rejected credential is answered with its code, and nothing more is read.
    public mutating func start() -> [Action] {
        guard state == .awaitingFirst, case .rejected(let refusal) = credential else { return [] }
        return refuse(refusal)
    }

    /// A frame came from the peer.
    public mutating func received(_ frame: Frame, at now: Uptime, managerTime: Timestamp) -> [Action] {
        do throws(SessionRefusal) {
            return received(try Message(frame: frame), at: now, managerTime: managerTime)
        } catch {
            return refuse(error)
        }
    }

    /// A message came from the peer.
    public mutating func received(_ message: Message, at now: Uptime, managerTime: Timestamp) -> [Action] {
        if case .closed = state { return [] }
        if case .goodbye(let goodbye) = message { return end(SessionEnd(goodbye)) }
        switch (state, message) {
        case (.awaitingFirst, .hello(let hello)):
            return introduced(hello)
        case (.awaitingFirst, .enrolmentRequest(let request)):
            guard case .none = credential else { return refuse(.unexpectedMessage) }
            state = .enrolling
            return [.enrol(request, nil)]
        case (.established, .heartbeat(let heartbeat)):
            lastHeartbeat = heartbeat.sequence
            let acknowledgement = Roost_V1_HeartbeatAcknowledgement.with {
                $0.sequence = heartbeat.sequence
                $0.managerTimeMs = managerTime.milliseconds
            }
            return heard(at: now) + [.send(.heartbeatAcknowledgement(acknowledgement)), .deliver(message)]
        case (.established, .enrolmentRequest(let request)):
            guard !renewing, case .verified(let peer) = credential else { return refuse(.unexpectedMessage) }
            renewing = true
            return heard(at: now) + [.enrol(request, peer)]
        case (.established, .inventory), (.established, .assignmentAcknowledgement), (.established, .statusReport),
            (.established, .usageBatch):
            return heard(at: now) + [.deliver(message)]
        case (.established, .streamOpen), (.established, .streamData), (.established, .streamCredit),
            (.established, .streamClose):
            return heard(at: now) + onStream(message)
        default:
            return refuse(.unexpectedMessage)
        }
    }

    /// The manager took the session in. The version that was settled on is written into the message here.
    public mutating func welcome(_ welcome: Roost_V1_Welcome, at now: Uptime) -> [Action] {
        guard state == .opening else { return [] }
        state = .established
        lastHeard = now
        var welcome = welcome
        welcome.protocol = negotiated
        welcome.heartbeatIntervalMs = UInt32(clamping: times.heartbeatInterval.milliseconds)
        return [.send(.welcome(welcome))]
    }

    /// The manager signed a certificate. A connection that came to join is done then: the agent dials again with it.
    public mutating func enrolled(_ answer: Roost_V1_EnrolmentAnswer) -> [Action] {
        switch state {
        case .enrolling:
            return [.send(.enrolmentAnswer(answer))] + end(.finished)
        case .established where renewing:
            renewing = false
            return [.send(.enrolmentAnswer(answer))]
        default:
            return []
        }
    }

    /// Ends the session from this side: bytes that no frame could be made of, a decision of the manager.
    ///
    /// - Parameter leader: with `notLeader`, where the manager is that takes the agent.
    public mutating func refuse(_ refusal: SessionRefusal, leader: String? = nil) -> [Action] {
        if case .closed = state { return [] }
        return [.send(.goodbye(refusal, leader: leader))] + end(.ours(refusal))
    }

    /// The connection went away.
    public mutating func disconnected() -> [Action] {
        if case .closed = state { return [] }
        return end(.connectionLost)
    }

    /// Time passed. To be called about once per heartbeat interval.
    public mutating func tick(at now: Uptime) -> [Action] {
        switch state {
        case .awaitingFirst:
            return now - started >= times.handshake ? refuse(.handshakeTimeout) : []
        case .established:
            let silence = now - lastHeard
            if silence >= times.heartbeatInterval * times.downAfterMissed { return refuse(.heartbeatLost) }
            guard !isSuspect, silence >= times.heartbeatInterval * times.suspectAfterMissed else { return [] }
            isSuspect = true
            return [.suspect]
        case .opening, .enrolling, .closed:
            // The manager's own work is not the peer's fault; its driver bounds it.
            return []
        }
    }

    /// This side was busy with the peer's last message and read nothing meanwhile: that silence is not the peer's.
    public mutating func resumed(at now: Uptime) {
        if state == .established { lastHeard = now }
    }

    /// Whether a message is one that the manager's work sends once a session stands.
    public static func admits(_ message: Message) -> Bool {
        switch message {
        case .assignmentSet, .usageAcknowledgement: return true
        default: return false
        }
    }

    /// Work on streams that this side begins; see `StreamTable`.
    public mutating func withStreams<Answer, Failure: Error>(
        _ body: (inout StreamTable) throws(Failure) -> Answer
    ) throws(Failure) -> Answer { try body(&streams) }

    /// The version comes first: of a `Hello` from another age nothing else is sure to be readable.
    private mutating func introduced(_ hello: Roost_V1_Hello) -> [Action] {
        guard case .verified(let peer) = credential else { return refuse(.noCertificate) }
        guard
            let version = ProtocolVersion.negotiate(
                versions, minimum: hello.protocolMinimum, maximum: hello.protocolMaximum)
        else { return refuse(.unsupportedProtocol) }
        guard let certified = peer.node else { return refuse(.wrongCertificateRole) }
        guard let node = NodeID(bytes: hello.nodeID), let site = SiteID(bytes: hello.siteID),
            BootID(bytes: hello.bootID) != nil, hello.processID.count == 16
        else { return refuse(.malformedMessage) }
        guard node == certified, site == peer.site else { return refuse(.identityMismatch) }
        negotiated = version
        state = .opening
        return [.open(hello, peer)]
    }

    private mutating func heard(at now: Uptime) -> [Action] {
        lastHeard = now
        guard isSuspect else { return [] }
        isSuspect = false
        return [.recovered]
    }

    private mutating func onStream(_ message: Message) -> [Action] {
        do throws(SessionRefusal) {
            let event = try streams.received(message)
            if case .none = event { return [] }
            if case .closed(_, _, .some(let answer)) = event { return [.send(answer), .stream(event)] }
            return [.stream(event)]
        } catch {
            return refuse(error)
        }
    }

    private mutating func end(_ end: SessionEnd) -> [Action] {
        state = .closed(end)
        return [.close(end)]
    }
}
