public import ManagerModel

/// What a token or an API key covers, as words of a scope (RFC 6749 §3.3): `*`, a resource (`instances`), what is done to
/// it (`instances:read`, `instances:power`, `instances:write` for all but reading), or a single permission
/// (`instancePower`). A scope narrows what its user may do and never widens it (SEC-08).
public struct TokenScope: Sendable, Equatable {
    /// Why a scope cannot be read.
    public enum Fault: Error, Equatable, CustomStringConvertible {
        case unknownWord(String)
        /// Each word means something; all together are longer than a token carries.
        case tooLong

        public var description: String {
            switch self {
            case .unknownWord(let word):
                "there is no scope '\(word)'; a scope is *, a resource such as instances, or a resource and what is done "
                    + "to it, such as instances:read"
            case .tooLong:
                "the scope is longer than \(TokenScope.maximumBytes) bytes; name whole resources, such as instances, rather "
                    + "than single permissions"
            }
        }
    }

    public static let everything = TokenScope(words: ["*"], permissions: nil)
    public static let maximumBytes = 1024

    /// In the order in which they were given, each once.
    public let words: [String]
    /// `nil`: everything that the user may.
    public let permissions: Set<Permission>?

    private init(words: [String], permissions: Set<Permission>?) {
        self.words = words
        self.permissions = permissions
    }

    /// Reads words with spaces between them; none is everything.
    public init(_ text: String) throws(Fault) {
        guard text.utf8.count <= Self.maximumBytes else { throw .tooLong }
        try self.init(words: text.split(separator: " ").map(String.init))
    }

    public init(words: [String]) throws(Fault) {
        guard !words.isEmpty else {
            self = .everything
            return
        }
        var unique: [String] = []
        var permissions: Set<Permission> = []
        for word in words where !unique.contains(word) {
            unique.append(word)
            guard word != "*" else { continue }
            guard let meant = Self.vocabulary[word] else { throw .unknownWord(String(word.prefix(64))) }
            permissions.formUnion(meant)
        }
        // A token carries them as one text, and nobody reads one that is longer.
        guard unique.reduce(unique.count - 1, { $0 + $1.utf8.count }) <= Self.maximumBytes else {
            throw .tooLong
        }
        self.init(words: unique, permissions: unique.contains("*") ? nil : permissions)
    }

    public var text: String { words.joined(separator: " ") }

    public func allows(_ permission: Permission) -> Bool { permissions?.contains(permission) ?? true }

    /// Whether all that `other` allows is allowed here.
    public func covers(_ other: TokenScope) -> Bool {
        guard let permissions else { return true }
        return other.permissions.map { $0.isSubset(of: permissions) } ?? false
    }

    /// What both allow.
    public func limited(to other: TokenScope) -> TokenScope {
        if covers(other) { return other }
        if other.covers(self) { return self }
        let both = (permissions ?? []).intersection(other.permissions ?? [])
        return TokenScope(words: both.map(\.rawValue).sorted(), permissions: both)
    }

    /// All words that mean something, in order.
    public static let known = ["*"] + vocabulary.keys.sorted()

    /// Such as `keyPair` and `keypairs`: what a permission is about, and how the API's paths call it.
    private static let nouns = [
        ("keyPair", "keypairs"), ("serverGroup", "server-groups"), ("apiKey", "api-keys"),
        ("signingKey", "signing-keys"), ("site", "site"),
        ("user", "users"), ("account", "accounts"), ("group", "groups"), ("role", "roles"), ("flavor", "flavors"),
        ("image", "images"), ("instance", "instances"), ("node", "nodes"), ("aggregate", "aggregates"),
        ("deviceRule", "device-rules"), ("device", "devices"),
        ("manager", "managers"), ("operation", "operations"), ("usage", "usage"), ("event", "events"),
        ("quota", "quotas"), ("token", "tokens"), ("registration", "registrations"), ("volume", "volumes"),
        ("network", "networks"),
    ]

    private static let vocabulary: [String: Set<Permission>] = {
        var words: [String: Set<Permission>] = [:]
        for permission in Permission.allCases where permission != .notYetServed && !permission.isOpen {
            words[permission.rawValue] = [permission]
            guard let (noun, plural) = nouns.first(where: { permission.rawValue.hasPrefix($0.0) }) else { continue }
            let verb = permission.rawValue.dropFirst(noun.count).lowercased()
            words[plural, default: []].insert(permission)
            words["\(plural):\(verb)", default: []].insert(permission)
            if !verb.hasPrefix("read") { words["\(plural):write", default: []].insert(permission) }
        }
        return words
    }()
}
