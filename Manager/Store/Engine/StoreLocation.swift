/// Where a site's record is.
public enum StoreLocation: Sendable, Equatable, CustomStringConvertible {
    /// An SQLite file, made where it is absent.
    case file(String)
    case mariaDB(MariaDBAddress)

    /// Reads a path or a URL.
    ///
    /// - Throws: `StoreError.badLocation`.
    public init(_ text: String, password: StoreSecret? = nil) throws(StoreError) {
        self =
            text.contains("://") ? .mariaDB(try MariaDBAddress(url: text, password: password)) : .file(text)
    }

    public var engine: StoreEngine {
        switch self {
        case .file: .sqlite
        case .mariaDB: .mariadb
        }
    }

    /// Without the password, fit for a log.
    public var description: String {
        switch self {
        case .file(let path): path
        case .mariaDB(let address): address.description
        }
    }
}

/// A database on one or more MariaDB servers of which all hold the same, in the order in which they are tried.
public struct MariaDBAddress: Sendable, Equatable, CustomStringConvertible {
    public struct Host: Sendable, Equatable, CustomStringConvertible {
        /// A name, an IP address, or the path of a Unix socket.
        public var name: String
        public var port: Int

        var isSocket: Bool { name.hasPrefix("/") }
        /// On this machine, where nobody can listen in between.
        var isLocal: Bool { isSocket || name == "localhost" || name == "::1" || name.hasPrefix("127.") }

        public var description: String {
            isSocket ? name : name.contains(":") ? "[\(name)]:\(port)" : "\(name):\(port)"
        }
    }

    public enum TLS: String, Sendable, CaseIterable {
        /// Encrypted, and the server's certificate is checked: against `ca`, or else what the system trusts.
        case required
        /// Encrypted, but to whom nobody knows.
        case unverified
        case off
    }

    public var user: String
    public var hosts: [Host]
    public var database: String
    public var tls: TLS
    /// Files in PEM form: the authority of the servers' certificates, and this client's own certificate and key.
    public var authority: String?
    public var certificate: String?
    public var key: String?
    public var password: StoreSecret

    public static let form =
        "mariadb://USER@HOST[:PORT][,HOST...]/DATABASE[?tls=required|unverified|off][&ca=FILE][&cert=FILE][&key=FILE]"
        + "[&socket=PATH]"

    /// - Throws: `StoreError.badLocation`. What it says never holds a part of a password.
    public init(url: String, password: StoreSecret?) throws(StoreError) {
        guard let scheme = url.split(separator: "://", maxSplits: 1).first, scheme == "mariadb" else {
            throw .badLocation("a store's URL begins with mariadb://, as in \(Self.form)")
        }
        let query = url.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let main = query[0].dropFirst("mariadb://".count)
        guard let at = main.lastIndex(of: "@"), at != main.startIndex else {
            throw .badLocation("the store's URL names no user; its form is \(Self.form)")
        }
        guard !main[..<at].contains(":") else {
            throw .badLocation(
                "the store's URL holds a password, which others could read; put it into a file and name that in "
                    + "store.password_file, or into the environment variable ROOST_STORE_PASSWORD")
        }
        user = try Self.decoded(main[..<at])
        let place = main[main.index(after: at)...].split(separator: "/", omittingEmptySubsequences: false)
        guard place.count == 2, !place[1].isEmpty else {
            throw .badLocation("the store's URL names no database; its form is \(Self.form)")
        }
        database = try Self.decoded(place[1])
        hosts = []
        for text in place[0].split(separator: ",") { hosts.append(try Self.host(text)) }
        self.password = password ?? StoreSecret("")
        var tls: TLS?
        for option in query.dropFirst().first?.split(separator: "&") ?? [] {
            let pair = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let value = pair.count == 2 ? try Self.decoded(pair[1]) : ""
            switch pair[0] {
            case "tls":
                guard let mode = TLS(rawValue: value) else {
                    throw .badLocation("tls in the store's URL is one of required, unverified, off")
                }
                tls = mode
            case "ca": authority = value
            case "cert": certificate = value
            case "key": key = value
            case "socket":
                guard value.hasPrefix("/") else {
                    throw .badLocation("socket in the store's URL is an absolute path")
                }
                hosts.append(Host(name: value, port: 0))
            default:
                throw .badLocation("the store's URL has an unknown option; its form is \(Self.form)")
            }
        }
        guard !hosts.isEmpty else { throw .badLocation("the store's URL names no host; its form is \(Self.form)") }
        self.tls = tls ?? (hosts.allSatisfy(\.isLocal) ? .off : .required)
    }

    public var description: String {
        "mariadb://\(user)@\(hosts.map(\.description).joined(separator: ","))/\(database)"
    }

    private static func host(_ text: Substring) throws(StoreError) -> Host {
        var name = text
        var port: Substring?
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else {
                throw .badLocation("an IPv6 address in the store's URL stands in [ ]")
            }
            name = text[text.index(after: text.startIndex)..<end]
            let rest = text[text.index(after: end)...]
            if rest.hasPrefix(":") { port = rest.dropFirst() }
        } else if let colon = text.lastIndex(of: ":") {
            name = text[..<colon]
            port = text[text.index(after: colon)...]
        }
        guard let number = Int(port ?? "3306"), (1...65_535).contains(number), !name.isEmpty else {
            throw .badLocation("a host in the store's URL is NAME or NAME:PORT, with a port from 1 to 65535")
        }
        return Host(name: String(name), port: number)
    }

    /// Undoes percent-encoding (RFC 3986 §2.1).
    private static func decoded(_ text: Substring) throws(StoreError) -> String {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let value = UInt8(String(Substring(rest.prefix(2))), radix: 16), rest.count >= 2 else {
                throw .badLocation("the store's URL holds a % that two hexadecimal digits do not follow")
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        // A zero byte would end the text early in C.
        guard let result = String(validating: bytes, as: UTF8.self), !bytes.contains(0) else {
            throw .badLocation("the store's URL is not UTF-8 text")
        }
        return result
    }
}

/// A text that shows itself in no log and no dump (SEC-14).
public struct StoreSecret: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    let text: String

    public init(_ text: String) { self.text = text }

    public var description: String { "(secret)" }
    public var debugDescription: String { "(secret)" }
    public var customMirror: Mirror { Mirror(self, children: []) }
}
