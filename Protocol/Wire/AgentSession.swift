public import ProtocolMessages
public import ProtocolModel

/// The agent's end of a session, without its socket.
///
///     idle --start--> greeting --Welcome--> established --> closed
///                        \--- Goodbye, refusal, silence ------^
///
/// Every event returns the actions to carry out, in order. Nothing that the manager sends can trap: what a state does
/// not allow ends the session with a code (P10).
public struct AgentSession: Sendable {
    public enum State: Hashable, Sendable {
        case idle
        /// `Hello` was sent.
        case greeting
        case established
        case closed(SessionEnd)
    }

    public enum Action: Hashable, Sendable {
        case send(Message)
        /// The session stands; the manager's intervals are in the message.
        case established(Roost_V1_Welcome)
        /// A message for the agent's work.
        case deliver(Message)
        /// What happened on a multiplexed stream.
        case stream(StreamTable.Event)
        /// A heartbeat with this number is to be composed and sent.
        case heartbeatDue(sequence: UInt64)
        /// To be carried out after the sends before it.
        case close(SessionEnd)
    }

    public private(set) var state = State.idle
    public private(set) var streams = StreamTable(side: .agent)
    private let times: SessionTimes
    private var deadline = Uptime(sinceStart: .zero)
    private var heartbeatInterval: Duration
    private var nextHeartbeat = Uptime(sinceStart: .zero)
    private var sequence: UInt64 = 0
    private var renewing = false
    /// Where the manager is that takes this agent, as one that does not has said in its goodbye.
    public private(set) var leader: String?

    /// The shortest and longest heartbeat interval that an agent takes from a manager.
    public static let heartbeatIntervals = Duration.milliseconds(100)...Duration.seconds(3600)

    public init(times: SessionTimes = SessionTimes()) {
        self.times = times
        self.heartbeatInterval = times.heartbeatInterval
    }

    /// The connection stands: says hello.
    public mutating func start(_ hello: Roost_V1_Hello, at now: Uptime) -> [Action] {
        guard state == .idle else { return [] }
        state = .greeting
        deadline = now + times.handshake
        return [.send(.hello(hello))]
    }

    /// A frame came from the manager.
    public mutating func received(_ frame: Frame, at now: Uptime) -> [Action] {
        do throws(SessionRefusal) {
            return received(try Message(frame: frame), at: now)
        } catch {
            return refuse(error)
        }
    }

    /// A message came from the manager.
    public mutating func received(_ message: Message, at now: Uptime) -> [Action] {
        if case .closed = state { return [] }
        if case .goodbye(let goodbye) = message {
            if goodbye.code == SessionRefusal.notLeader.rawValue, !goodbye.leaderAddress.isEmpty {
                leader = goodbye.leaderAddress
            }
            return end(SessionEnd(goodbye))
        }
        switch (state, message) {
        case (.greeting, .welcome(let welcome)):
            return welcomed(welcome, at: now)
        case (.established, .heartbeatAcknowledgement):
            heard(at: now)
            return []
        case (.established, .enrolmentAnswer):
            guard renewing else { return refuse(.unexpectedMessage) }
            renewing = false
            heard(at: now)
            return [.deliver(message)]
        case (.established, .assignmentSet), (.established, .usageAcknowledgement):
            heard(at: now)
            return [.deliver(message)]
        case (.established, .streamOpen), (.established, .streamData), (.established, .streamCredit),
            (.established, .streamClose):
            heard(at: now)
            return onStream(message)
        default:
            return refuse(.unexpectedMessage)
        }
    }

    /// Bytes came that no frame could be made of, or the agent's own work ends the session.
    public mutating func refuse(_ refusal: SessionRefusal) -> [Action] {
        if case .closed = state { return [] }
        return [.send(.goodbye(refusal))] + end(.ours(refusal))
    }

    /// The connection went away.
    public mutating func disconnected() -> [Action] {
        if case .closed = state { return [] }
        return end(.connectionLost)
    }

    /// Time passed. To be called at least once per heartbeat interval.
    public mutating func tick(at now: Uptime) -> [Action] {
        switch state {
        case .greeting:
            return now >= deadline ? refuse(.handshakeTimeout) : []
        case .established:
            if now >= deadline { return refuse(.heartbeatLost) }
            guard now >= nextHeartbeat else { return [] }
            sequence += 1
            nextHeartbeat = now + heartbeatInterval
            return [.heartbeatDue(sequence: sequence)]
        case .idle, .closed:
            return []
        }
    }

    /// This side was busy with the peer's last message and read nothing meanwhile: that silence is not the peer's.
    public mutating func resumed(at now: Uptime) {
        if state == .established { heard(at: now) }
    }

    /// Whether a message may be sent now. An agent that asks for a new certificate notes it here.
    public mutating func admits(_ message: Message) -> Bool {
        guard state == .established else { return false }
        switch message {
        case .enrolmentRequest:
            renewing = true
            return true
        case .heartbeat, .inventory, .assignmentAcknowledgement, .statusReport, .usageBatch: return true
        default: return false
        }
    }

    /// Work on streams that this side begins; see `StreamTable`.
    public mutating func withStreams<Answer, Failure: Error>(
        _ body: (inout StreamTable) throws(Failure) -> Answer
    ) throws(Failure) -> Answer { try body(&streams) }

    private mutating func welcomed(_ welcome: Roost_V1_Welcome, at now: Uptime) -> [Action] {
        guard ProtocolVersion.supported.contains(welcome.protocol) else { return refuse(.unsupportedProtocol) }
        let interval = Duration.milliseconds(Int64(welcome.heartbeatIntervalMs))
        guard Self.heartbeatIntervals.contains(interval) else { return refuse(.malformedMessage) }
        heartbeatInterval = interval
        nextHeartbeat = now
        state = .established
        heard(at: now)
        return [.established(welcome)]
    }

    private mutating func heard(at now: Uptime) {
        deadline = now + heartbeatInterval * times.downAfterMissed
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
