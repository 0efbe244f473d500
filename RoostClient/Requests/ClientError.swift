/// What went wrong between this client and the manager. Beside it only `CancellationError` is thrown.
public enum ClientError: Error, Sendable, Equatable {
    /// The manager answered, and refused.
    case problem(Problem)
    /// No answer came from the manager at this address.
    case connection(ConnectionFailure, Connection)
    /// The answer is not what the API describes.
    case malformed(String)
    /// The call was wrong before anything was sent.
    case invalid(String)
    /// The operation of this ID goes on, but is not waited for any longer.
    case stillRunning(operation: String, after: Duration)

    /// Which manager was asked, and whom its certificate was to come from.
    public struct Connection: Sendable, Equatable {
        /// Its address.
        public var endpoint: String
        /// `nil`: the system's authorities.
        public var authorityFile: String?

        /// Of that manager.
        public init(endpoint: String, authorityFile: String? = nil) {
            self.endpoint = endpoint
            self.authorityFile = authorityFile
        }
    }

    /// What the manager refused with.
    public var problem: Problem? { if case .problem(let problem) = self { problem } else { nil } }

    /// Whether no answer came.
    public var isUnreachable: Bool { if case .connection = self { true } else { false } }
}

extension ClientError: CustomStringConvertible {
    /// A sentence that says what to do.
    public var description: String {
        switch self {
        case .problem(let problem): problem.detail
        case .connection(let failure, let connection):
            failure.sentence(endpoint: connection.endpoint, authorityFile: connection.authorityFile)
        case .malformed(let text), .invalid(let text): text
        case .stillRunning(let operation, let time):
            "operation \(operation) has not ended after \(time.components.seconds) s; it goes on"
        }
    }
}
