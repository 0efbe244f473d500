public import ProtocolModel

/// The host's own operator has taken it back, without an account here. Nobody else can lift that.
public struct HostHold: Sendable, Hashable, Codable {
    public var reason: String
    private var sinceMilliseconds: Int64

    public init(reason: String, since: Timestamp) {
        self.reason = reason
        self.sinceMilliseconds = since.milliseconds
    }

    public var since: Timestamp { Timestamp(milliseconds: sinceMilliseconds) }

    /// For those who ask why the node is out of service.
    public var sentence: String { reason.isEmpty ? "taken back by its own operator" : reason }
}

/// What an agent says of its host's own operator. Agents that know nothing of it say nothing.
public enum HostWord: Sendable, Hashable {
    case left(HostHold)
    /// It was given back, or never taken.
    case isOurs
}
