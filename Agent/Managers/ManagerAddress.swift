/// Where a manager listens for agents.
public struct ManagerAddress: Hashable, Sendable, CustomStringConvertible {
    public static let defaultPort = 7401
    public let host: String
    public let port: Int

    public init(host: String, port: Int = defaultPort) {
        self.host = host
        self.port = port
    }

    /// Reads `host`, `host:port`, an IPv6 address, or `[address]:port`; anything else is `nil`.
    public init?(_ text: String) {
        var host = Substring(text)
        var port = Self.defaultPort
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { return nil }
            host = text[text.index(after: text.startIndex)..<end]
            let rest = text[text.index(after: end)...]
            guard rest.isEmpty || rest.hasPrefix(":") else { return nil }
            if !rest.isEmpty {
                guard let number = Int(rest.dropFirst()) else { return nil }
                port = number
            }
        } else if text.filter({ $0 == ":" }).count == 1, let colon = text.firstIndex(of: ":") {
            guard let number = Int(text[text.index(after: colon)...]) else { return nil }
            host = text[..<colon]
            port = number
        }
        guard !host.isEmpty, (1...65_535).contains(port), !host.contains(where: \.isWhitespace) else { return nil }
        self.init(host: String(host), port: port)
    }

    /// Reads addresses with commas between; `nil` where there is none or one cannot be read.
    public static func list(_ text: String) -> [ManagerAddress]? {
        let parts = text.split(separator: ",", omittingEmptySubsequences: false).map { part in
            ManagerAddress(String(part.drop(while: \.isWhitespace)).trimmingEnd())
        }
        return parts.contains(nil) ? nil : parts.compactMap { $0 }
    }

    public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

extension String {
    fileprivate func trimmingEnd() -> String {
        var text = self
        while text.last?.isWhitespace == true { text.removeLast() }
        return text
    }
}
