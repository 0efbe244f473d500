/// How people are found in the directory.
public struct DirectorySettings: Sendable {
    /// Whose rights are used to look people up; without them it is done anonymously.
    public struct Reader: Sendable {
        public var name: String
        public var password: String

        public init(name: String, password: String) {
            self.name = name
            self.password = password
        }
    }

    /// Names of attributes (RFC 4512 §2.5).
    public struct Attributes: Sendable {
        public var name = "uid"
        public var email = "mail"
        public var fullName = "cn"
        public var unixName = "uid"

        public init() {}
    }

    /// Tried in this order.
    public var servers: [DirectoryServer]
    /// For all that is asked of one server, from its address on; after that the next one is tried.
    public var timeout = Duration.seconds(5)
    /// PEM files: our own certificate and its key, which may stand in one file, for servers that ask for one.
    public var certificateFile: String?
    public var keyFile: String?
    /// PEM file of the authorities that sign the servers' certificates; without it and without a folder, the system's.
    public var authorityFile: String?
    /// A folder of PEM files of authorities.
    public var authorityFolder: String?
    public var reader: Reader?
    /// Where people are: the name of an entry, below which they are looked for, or, with `%s` for the user's name, the name of
    /// each one's own entry.
    public var searchBase: String
    public var attributes = Attributes()
    /// The name of a group's entry whose members alone may sign in.
    public var requiredGroup: String?
    /// An attribute without which nobody may sign in.
    public var requiredAttribute: String?

    /// - Throws: `DirectoryError.misconfigured` with a sentence.
    public init(
        servers: [DirectoryServer], searchBase: String, attributes: Attributes = Attributes(), reader: Reader? = nil,
        requiredAttribute: String? = nil, allowsPlainText: Bool = false
    ) throws(DirectoryError) {
        guard !servers.isEmpty else { throw .misconfigured("ldap.hosts names no server") }
        if !allowsPlainText, let open = servers.first(where: { $0.encryption == .none && !$0.isLocal }) {
            throw .misconfigured(
                "passwords would be sent to \(open) in plain text; use ldaps:// or ldap.start_tls, or allow it by "
                    + "ldap.allow_plain_text")
        }
        guard !searchBase.isEmpty else {
            throw .misconfigured("ldap.user_search_dn is not set; it says below which entry people are looked for")
        }
        let names = [
            ("ldap.uid_attr", attributes.name), ("ldap.mail_attr", attributes.email),
            ("ldap.full_name_attr", attributes.fullName), ("ldap.uname_attr", attributes.unixName),
            ("ldap.require_attr", requiredAttribute),
        ]
        for case (let key, let name?) in names where !Self.isAttribute(name) {
            throw .misconfigured("\(key) must be the name of an attribute, such as uid; '\(name)' is none")
        }
        if let reader, reader.name.isEmpty || reader.password.isEmpty {
            // An empty password would be no proof of who the reader is (RFC 4513 §5.1.2).
            throw .misconfigured("ldap.bind_uname needs ldap.bind_pw or ldap.bind_pw_file with a password")
        }
        self.servers = servers
        self.searchBase = searchBase
        self.attributes = attributes
        self.reader = reader
        self.requiredAttribute = requiredAttribute
    }

    /// A name or an identifier in digits (RFC 4512 §1.4).
    private static func isAttribute(_ name: String) -> Bool {
        guard let first = name.utf8.first, name.utf8.count <= 128 else { return false }
        func isDigit(_ byte: UInt8) -> Bool { (48...57).contains(byte) }
        func isLetter(_ byte: UInt8) -> Bool { (65...90).contains(byte) || (97...122).contains(byte) }
        if isDigit(first) { return name.utf8.allSatisfy { isDigit($0) || $0 == UInt8(ascii: ".") } }
        return isLetter(first)
            && name.utf8.allSatisfy {
                isDigit($0) || isLetter($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ";")
            }
    }
}
