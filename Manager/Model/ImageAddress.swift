public import Foundation

/// Where the manager may be asked to fetch an image from: the address of a file on a web server, and nothing else that a URL
/// can be.
public struct ImageAddress: Sendable, Equatable, CustomStringConvertible {
    public static let maximumLength = 2048

    public let url: URL
    /// In lower case, an IPv6 address without its brackets.
    public let host: String
    public let port: Int
    public let isEncrypted: Bool

    /// - Throws: `Refusal` `invalid_request`, which names the field `url`.
    public init(_ text: String) throws(Refusal) {
        func refusal(_ detail: String) -> Refusal {
            Refusal(.invalidRequest, "url \(detail)", fields: [.init(pointer: "/url", detail: detail)])
        }
        guard text.utf8.count <= Self.maximumLength else {
            throw refusal("must have at most \(Self.maximumLength) characters")
        }
        // What another reader of the same text may take for something else is not taken at all.
        guard text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }), !text.contains("\\"),
            var parts = URLComponents(string: text), let scheme = parts.scheme?.lowercased(),
            var host = parts.host?.lowercased(), !host.isEmpty
        else { throw refusal("must be an address such as https://images.example.org/debian.qcow2") }
        guard scheme == "https" || scheme == "http" else { throw refusal("must begin with https:// or http://") }
        guard parts.user == nil, parts.password == nil else {
            throw refusal("must not hold a user name or password: it is kept in the record and shown")
        }
        guard parts.fragment == nil else { throw refusal("must not have a part behind #") }
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        guard !host.contains("%"), !host.hasSuffix(".") || host.count > 1 else { throw refusal("names no host") }
        guard let port = Self.port(parts.port, scheme) else { throw refusal("has no port from 1 to 65535") }
        // One way to write a host, so that the address that was found for it is the one that is used.
        parts.scheme = scheme
        parts.host = host.contains(":") ? "[\(host)]" : host
        guard let url = parts.url else { throw refusal("is no address") }
        self.url = url
        self.host = host
        self.port = port
        isEncrypted = scheme == "https"
    }

    private static func port(_ given: Int?, _ scheme: String) -> Int? {
        let port = given ?? (scheme == "https" ? 443 : 80)
        return (1...65_535).contains(port) ? port : nil
    }

    public var description: String { url.absoluteString }
}
