/// A program that people sign in with. All are public (RFC 6749 §2.1): what runs on somebody's machine keeps no secret, and
/// PKCE binds a code to whoever asked for it.
public struct OAuthClient: Sendable, Equatable {
    public enum Redirects: Sendable, Equatable {
        /// To the same machine, on any port (RFC 8252 §7.3).
        case loopback
        /// To exactly these.
        case exact([String])
    }

    /// `client_id`
    public var id: String
    /// For the page that asks the user.
    public var name: String
    public var redirects: Redirects

    public init(id: String, name: String, redirects: Redirects) {
        self.id = id
        self.name = name
        self.redirects = redirects
    }

    /// Whether a code may be sent there.
    public func allows(redirect: String) -> Bool {
        switch redirects {
        case .exact(let allowed): allowed.contains(redirect)
        case .loopback: Self.isLoopback(redirect)
        }
    }

    /// `http://127.0.0.1:PORT/PATH` or `http://[::1]:PORT/PATH`. Not `localhost`, which may resolve to anything
    /// (RFC 8252 §8.3).
    private static func isLoopback(_ text: String) -> Bool {
        guard text.utf8.count <= 512, let prefix = ["http://127.0.0.1", "http://[::1]"].first(where: text.hasPrefix)
        else {
            return false
        }
        var rest = text.dropFirst(prefix.count)
        if rest.first == ":" {
            rest = rest.dropFirst()
            let digits = rest.prefix { $0.isASCII && $0.isNumber }
            guard let port = UInt16(digits), port > 0 else { return false }
            rest = rest.dropFirst(digits.count)
        }
        // Nothing that a browser would read as another host, and no fragment (RFC 6749 §3.1.2).
        guard rest.isEmpty || rest.first == "/" else { return false }
        return rest.utf8.allSatisfy { (0x21...0x7E).contains($0) && !#"#\@"<>"#.utf8.contains($0) }
    }
}

/// Who may ask for tokens in somebody's name.
public struct OAuthClients: Sendable {
    /// The command line, and whoever asks without saying who.
    public static let commandLine = OAuthClient(id: "roost", name: "Roost command line", redirects: .loopback)

    private let clients: [String: OAuthClient]

    /// - Parameters:
    ///   - portalRedirects: where the portal takes codes.
    ///   - others: further clients of the site.
    public init(portalRedirects: [String] = [], others: [OAuthClient] = []) {
        let portal = OAuthClient(id: "portal", name: "Roost portal", redirects: .exact(portalRedirects))
        clients = Dictionary((others + [portal, Self.commandLine]).map { ($0.id, $0) }) { $1 }
    }

    public func find(_ id: String) -> OAuthClient? { clients[id] }
}
