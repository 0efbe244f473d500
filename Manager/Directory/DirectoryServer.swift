/// One LDAP server, as `ldap.hosts` names it.
public struct DirectoryServer: Sendable, Hashable, CustomStringConvertible {
    public enum Encryption: Sendable, Hashable {
        /// TLS from the first byte (`ldaps://`).
        case ldaps
        /// TLS begun on a connection that starts in plain text (RFC 4511 §4.14).
        case startTLS
        /// None: everybody on the way can read the passwords.
        case none
    }

    public var host: String
    public var port: Int
    public var encryption: Encryption

    public init(host: String, port: Int, encryption: Encryption) {
        self.host = host
        self.port = port
        self.encryption = encryption
    }

    /// What `init(_:startTLS:)` reads, for people.
    public static let form = "ldaps://host[:port], ldap://host[:port] or host[:port]"

    /// Reads `ldaps://host[:port]`, `ldap://host[:port]` or `host[:port]`; `nil` where the text is none of these.
    ///
    /// - Parameter startTLS: whether a connection that is not `ldaps` begins TLS.
    public init?(_ text: String, startTLS: Bool) {
        var rest = Substring(text)
        encryption = startTLS ? .startTLS : .none
        port = 389
        if let scheme = text.firstRange(of: "://") {
            switch text[..<scheme.lowerBound].lowercased() {
            case "ldap": break
            case "ldaps":
                encryption = .ldaps
                port = 636
            default: return nil
            }
            rest = text[scheme.upperBound...]
            if rest.hasSuffix("/") { rest.removeLast() }
        }
        if rest.hasPrefix("[") {
            guard let end = rest.firstIndex(of: "]") else { return nil }
            host = String(rest[rest.index(after: rest.startIndex)..<end])
            guard host.utf8.allSatisfy({ Self.isHexadecimal($0) || $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: ".") })
            else { return nil }
            rest = rest[rest.index(after: end)...]
        } else {
            host = String(rest.prefix { $0 != ":" })
            guard host.utf8.allSatisfy(Self.isOfAName) else { return nil }
            rest = rest.dropFirst(host.count)
        }
        guard !host.isEmpty, host.utf8.count <= 253 else { return nil }
        if !rest.isEmpty {
            guard rest.first == ":", let number = Int(rest.dropFirst()), (1...65_535).contains(number) else {
                return nil
            }
            port = number
        }
    }

    /// Whether what is sent never leaves this machine.
    var isLocal: Bool {
        host == "localhost" || host == "::1" || host.hasPrefix("127.") && host.utf8.allSatisfy(Self.isOfAnAddress)
    }

    public var description: String {
        let name = host.contains(":") ? "[\(host)]" : host
        return "\(encryption == .ldaps ? "ldaps" : "ldap")://\(name):\(port)"
    }

    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        (48...57).contains(byte) || (65...70).contains(byte) || (97...102).contains(byte)
    }

    private static func isOfAnAddress(_ byte: UInt8) -> Bool { (48...57).contains(byte) || byte == UInt8(ascii: ".") }

    private static func isOfAName(_ byte: UInt8) -> Bool {
        (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
            || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
    }
}
