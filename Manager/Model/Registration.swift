public import ProtocolModel

/// An entry of the list of those who may register (POR-13).
public struct WhitelistEntry: Sendable, Equatable {
    public var id: WhitelistEntryID
    public var pattern: WhitelistPattern
    public var description: String
    public var createdAt: Timestamp

    public init(id: WhitelistEntryID, pattern: WhitelistPattern, description: String = "", createdAt: Timestamp) {
        self.id = id
        self.pattern = pattern
        self.description = description
        self.createdAt = createdAt
    }
}

extension WhitelistEntry: Audited {
    public var auditedFields: [String: String] { ["pattern": pattern.text, "description": description] }
}

/// Who is meant: an e-mail address, or without `@` a user's name in the directory; `*` stands for any characters, also none.
public struct WhitelistPattern: Sendable, Hashable, CustomStringConvertible {
    public static let form =
        "an e-mail address or a user's name in the directory, with * for any characters: *@example.org"

    /// In small letters.
    public let text: String

    public init?(_ text: String) {
        guard (1...254).contains(text.utf8.count), text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }),
            text.utf8.filter({ $0 == UInt8(ascii: "@") }).count <= 1
        else { return nil }
        self.text = text.lowercased()
    }

    public var description: String { text }

    /// Whether it is about this address, or this name; nobody without an address is meant by one with `@`.
    public func matches(email: String?, name: String?) -> Bool {
        guard let candidate = text.contains("@") ? email : name else { return false }
        return Wildcard(text).matches(candidate.lowercased())
    }
}

/// A link that was mailed: whoever has it has that address's mail. Works once, and not for long.
public struct MailedLink: Sendable, Equatable {
    public enum Purpose: String, Sendable, CaseIterable {
        /// Makes a user with this address.
        case registration
        /// Sets a new password.
        case passwordReset = "password_reset"
    }

    /// SHA-256 of what the link holds.
    public var hash: ContentDigest
    public var purpose: Purpose
    public var email: String
    /// Whose password it sets.
    public var user: UserID?
    public var createdAt: Timestamp
    public var expiresAt: Timestamp
    public var usedAt: Timestamp?

    public init(
        hash: ContentDigest, purpose: Purpose, email: String, user: UserID? = nil, createdAt: Timestamp,
        expiresAt: Timestamp, usedAt: Timestamp? = nil
    ) {
        self.hash = hash
        self.purpose = purpose
        self.email = email
        self.user = user
        self.createdAt = createdAt
        self.expiresAt = expiresAt
        self.usedAt = usedAt
    }

    public func isGood(for purpose: Purpose, at now: Timestamp) -> Bool {
        self.purpose == purpose && usedAt == nil && now < expiresAt
    }
}
