import HTTPTypes

/// Which pages of other origins a browser lets read the API (Fetch, CORS). None, unless the site names some.
public struct CrossOrigin: Sendable, Equatable {
    /// Such as `https://portal.example.org`, or `*` for any.
    private let origins: Set<String>

    public static let none = CrossOrigin(checked: [])

    private init(checked: Set<String>) { origins = checked }

    /// - Returns: `nil` where one is no origin: scheme, host, and a port where it is not the scheme's own; no path.
    public init?(_ origins: [String]) {
        guard origins.allSatisfy({ $0 == "*" || Self.isOrigin($0) }) else { return nil }
        self.origins = Set(origins)
    }

    var isOff: Bool { origins.isEmpty }

    private static func isOrigin(_ text: String) -> Bool {
        let scheme = ["https://", "http://"].first { text.hasPrefix($0) }
        guard let scheme, text.utf8.count <= 300 else { return false }
        let host = text.dropFirst(scheme.count)
        return !host.isEmpty
            && host.utf8.allSatisfy {
                (48...57).contains($0) || (97...122).contains($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-")
                    || $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: "[") || $0 == UInt8(ascii: "]")
            }
    }

    /// Headers of an answer to a request from `origin`. No credentials are ever allowed: a token is sent by whoever has it, and
    /// there are no cookies.
    func headers(for origin: String?) -> [(name: String, value: String)] {
        guard !isOff else { return [] }
        let allowed: [(name: String, value: String)] =
            allowedOrigin(origin).map {
                [
                    ("Access-Control-Allow-Origin", $0),
                    (
                        "Access-Control-Expose-Headers",
                        "ETag, Location, Operation-Location, Idempotent-Replay, X-Request-ID, Retry-After, RateLimit, RateLimit-Policy"
                    ),
                ]
            } ?? []
        return allowed
    }

    /// Further headers of the answer to a browser's question whether it may send such a request.
    func preflight(for origin: String?, methods: String) -> [(name: String, value: String)] {
        guard allowedOrigin(origin) != nil else { return [] }
        return [
            ("Access-Control-Allow-Methods", methods),
            (
                "Access-Control-Allow-Headers",
                "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Upload-Complete, "
                    + "Upload-Length, Upload-Offset, X-Request-ID"
            ),
            ("Access-Control-Max-Age", "600"),
        ]
    }

    private func allowedOrigin(_ origin: String?) -> String? {
        guard let origin else { return nil }
        if origins.contains(origin) { return origin }
        return origins.contains("*") ? "*" : nil
    }
}
