/// Why an image could not be fetched.
public struct FetchError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Stable: stands in problem documents and logs.
    public enum Code: String, Sendable {
        case addressRefused = "image_url_address_refused"
        case unresolved = "image_url_unresolved"
        case unreachable = "image_url_unreachable"
        case certificate = "image_url_certificate"
        case redirect = "image_url_redirect"
        case status = "image_url_status"
        case encoding = "image_url_encoding"
        case changed = "image_url_changed"
        case tooLarge = "image_too_large"
        case timedOut = "image_url_timeout"
    }

    public let code: Code
    /// What is wrong and what to do.
    public let sentence: String
    /// Whether it may pass: then it is tried again.
    let mayPass: Bool
    /// The server answered nothing: another address of the same host may.
    let isUnanswered: Bool

    init(_ code: Code, _ sentence: String, mayPass: Bool = false, isUnanswered: Bool = false) {
        self.code = code
        self.sentence = sentence
        self.mayPass = mayPass
        self.isUnanswered = isUnanswered
    }

    public static func otherSize(announced: Int64, found: Int64) -> FetchError {
        FetchError(.changed, "the server's file has \(found) bytes, but \(announced) were announced")
    }

    public var description: String { sentence }
}
