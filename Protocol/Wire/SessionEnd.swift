public import ProtocolMessages
public import ProtocolModel

/// How a session came to its end.
public enum SessionEnd: Hashable, Sendable {
    /// This side ended it, for this reason.
    case ours(SessionRefusal)
    /// The other side ended it. The code is `nil` where this version does not know it; the sentence is the peer's.
    case theirs(SessionRefusal?, sentence: String)
    /// What the connection was for is done: an enrolment was answered.
    case finished
    /// The connection went away without a word.
    case connectionLost

    /// The peer's last message. Its words end up in logs, so that they are kept short and in one line.
    public init(_ goodbye: Roost_V1_Goodbye) {
        let sentence = String(goodbye.sentence.unicodeScalars.prefix(300).map { $0.value < 32 ? " " : Character($0) })
        self = .theirs(SessionRefusal(rawValue: goodbye.code), sentence: sentence)
    }

    /// The code, where one was given.
    public var refusal: SessionRefusal? {
        switch self {
        case .ours(let refusal): refusal
        case .theirs(let refusal, _): refusal
        case .finished, .connectionLost: nil
        }
    }
}

/// Times of a session; each is told apart from the other by name alone.
public struct SessionTimes: Hashable, Sendable {
    /// From the TLS handshake to `Welcome`.
    public var handshake: Duration
    /// Between two heartbeats of an agent.
    public var heartbeatInterval: Duration
    /// Missed heartbeats after which a node is suspect.
    public var suspectAfterMissed: Int
    /// Missed heartbeats after which a node is down and its session ends.
    public var downAfterMissed: Int

    public init(
        handshake: Duration = .seconds(10), heartbeatInterval: Duration = .seconds(5), suspectAfterMissed: Int = 3,
        downAfterMissed: Int = 6
    ) {
        self.handshake = handshake
        self.heartbeatInterval = heartbeatInterval
        self.suspectAfterMissed = suspectAfterMissed
        self.downAfterMissed = downAfterMissed
    }
}
