/// What was wrong with one server of the directory.
public struct ServerTrouble: Sendable, Equatable, CustomStringConvertible {
    public enum Kind: Sendable, Equatable {
        /// No connection, or one that ended.
        case unreachable(String)
        /// No answer in time.
        case slow
        /// TLS could not be set up, so that nothing was sent.
        case insecure(String)
        /// The server says that it cannot serve just now.
        case unwilling(String)
    }

    public var server: DirectoryServer
    public var kind: Kind

    public init(_ server: DirectoryServer, _ kind: Kind) {
        self.server = server
        self.kind = kind
    }

    public var description: String {
        switch kind {
        case .unreachable(let reason): "\(server) cannot be reached (\(reason))"
        case .slow: "\(server) did not answer in time"
        case .insecure(let reason): "TLS with \(server) cannot be set up: \(reason)"
        case .unwilling(let reason): "\(server) does not serve just now (\(reason))"
        }
    }
}

/// Why the directory let nobody in. `description` is for the operator's log; who signs in is told `sentence`, which names
/// no server and no entry.
public enum DirectoryError: Error, Sendable, Equatable, CustomStringConvertible {
    /// There is no such person, or the password is wrong: deliberately not told apart.
    case wrongCredentials
    /// The directory knows the person and does not let them in, for instance since the password has expired.
    case refused(String)
    /// The password is right, and the site's rules for who may use it are not met.
    case notEligible(String)
    /// No server could be asked; what was wrong with each.
    case unavailable([ServerTrouble])
    /// The settings do not fit the directory.
    case misconfigured(String)
    /// Too many people wait for the directory.
    case busy

    public var description: String {
        switch self {
        case .wrongCredentials: "the name or the password is wrong"
        case .refused(let reason): "the directory refuses this person: \(reason)"
        case .notEligible(let reason): reason
        case .unavailable(let troubles): troubles.map(\.description).joined(separator: "; ")
        case .misconfigured(let reason): reason
        case .busy: "too many people wait for the directory"
        }
    }

    /// What the one who signs in is told.
    public var sentence: String {
        switch self {
        case .wrongCredentials: "the name or the password is wrong"
        case .refused:
            "the directory does not let you in, though it knows you: your password may have expired, or your entry may be "
                + "locked; ask those who run the directory"
        case .notEligible(let reason): reason
        case .unavailable(let troubles): Self.sentence(troubles.map(\.kind))
        case .misconfigured:
            "the directory that knows your password cannot be asked, since a setting does not fit it; tell the operator"
        case .busy: "too many people wait for the directory just now; try again in a few seconds"
        }
    }

    private static func sentence(_ kinds: [ServerTrouble.Kind]) -> String {
        let isInsecure = kinds.contains { if case .insecure = $0 { true } else { false } }
        if isInsecure {
            return "the connection to the directory that knows your password is not secure, so nothing was sent; "
                + "tell the operator"
        }
        if !kinds.isEmpty, kinds.allSatisfy({ $0 == .slow }) {
            return "the directory that knows your password does not answer in time; nothing is known about your "
                + "password; try again later"
        }
        return "the directory that knows your password cannot be reached; nothing is known about your password; "
            + "try again later"
    }
}
