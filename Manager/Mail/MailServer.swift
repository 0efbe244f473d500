/// Where mail is handed over, and in whose name.
public struct MailServer: Sendable {
    public enum Encryption: Sendable, Equatable {
        /// TLS from the first byte (`smtps://`).
        case smtps
        /// TLS begun by the command STARTTLS; without it, nothing is sent.
        case startTLS
        case none
    }

    public struct Credentials: Sendable {
        public var user: String
        public var password: String

        public init(user: String, password: String) {
            self.user = user
            self.password = password
        }
    }

    public var host: String
    public var port: Int
    public var encryption: Encryption
    public var credentials: Credentials?
    public var sender: MailAddress
    /// PEM file of the authorities that sign the server's certificate; without it, the system's.
    public var authorityFile: String?
    /// For the whole of one message.
    public var timeout = Duration.seconds(30)

    /// - Parameters:
    ///   - url: `smtp://host[:port]` or `smtps://host[:port]`
    ///   - startTLS: whether TLS is begun on `smtp://`.
    /// - Throws: `MailError.misconfigured`
    public init(
        url: String, startTLS: Bool, sender: MailAddress, credentials: Credentials? = nil
    ) throws(MailError) {
        var rest: Substring
        if url.hasPrefix("smtp://") {
            (encryption, port, rest) = (startTLS ? .startTLS : .none, 25, url.dropFirst("smtp://".count))
        } else if url.hasPrefix("smtps://") {
            (encryption, port, rest) = (.smtps, 465, url.dropFirst("smtps://".count))
        } else {
            throw Self.malformed
        }
        if rest.hasSuffix("/") { rest.removeLast() }
        if rest.hasPrefix("["), let end = rest.firstIndex(of: "]") {
            host = String(rest[...end])
            rest = rest[rest.index(after: end)...]
        } else {
            host = String(rest.prefix { $0 != ":" })
            rest = rest.dropFirst(host.count)
        }
        let isName = host.utf8.allSatisfy {
            (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || "[]:.-_".utf8.contains($0)
        }
        guard !host.isEmpty, isName else { throw Self.malformed }
        if !rest.isEmpty {
            guard rest.first == ":", let number = Int(rest.dropFirst()), (1...65_535).contains(number) else {
                throw Self.malformed
            }
            port = number
        }
        self.sender = sender
        self.credentials = credentials
        if credentials != nil, encryption == .none, !["localhost", "127.0.0.1", "[::1]"].contains(host) {
            throw .misconfigured(
                "mail.user's password would be sent to \(host) in plain text; use smtps:// or mail.starttls")
        }
    }

    var url: String { "\(encryption == .smtps ? "smtps" : "smtp")://\(host):\(port)" }

    private static let malformed = MailError.misconfigured(
        "mail.smtp_url must be smtp://host[:port] or smtps://host[:port], without a user or a path")
}

/// Why a message was not handed over.
public enum MailError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Nothing goes just now: no connection, or no answer in time.
    case unavailable(String)
    /// The server does not take this message now, and may take others (SMTP 4xx).
    case deferred(String)
    /// This message is not taken (SMTP 5xx).
    case refused(String)
    /// TLS could not be set up, so that nothing was sent.
    case insecure(String)
    case misconfigured(String)

    public var description: String {
        switch self {
        case .unavailable(let reason): "the mail server cannot take mail just now: \(reason)"
        case .deferred(let reason): "the mail server does not take the message yet: \(reason)"
        case .refused(let reason): "the mail server refuses the message: \(reason)"
        case .insecure(let reason): "the connection to the mail server is not secure: \(reason)"
        case .misconfigured(let reason): reason
        }
    }

    /// Whether the same message may be taken later, perhaps after the operator has mended something.
    public var isTransient: Bool {
        switch self {
        case .refused, .deferred: false
        case .unavailable, .insecure, .misconfigured: true
        }
    }
}
