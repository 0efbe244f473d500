/// A request to the API, of paths and JSON: what the typed calls are made of, and what is left for routes that have none.
public struct Request: Sendable {
    /// Of HTTP.
    public enum Method: String, Sendable {
        case get = "GET"
        case post = "POST"
        case put = "PUT"
        case patch = "PATCH"
        case delete = "DELETE"
    }

    /// Of HTTP.
    public var method: Method
    /// With its query; begins with `/`. Use ``Address`` to make it of what people typed.
    public var path: String
    /// `nil`: no body.
    public var body: JSON?
    /// Only if the resource still has this entity tag (RFC 9110 §13.1.1).
    public var ifMatch: String?
    /// Under which the manager remembers the answer to a POST for 24 hours; made up where it is not given.
    public var idempotencyKey: String?

    /// - Parameter path: begins with `/`; use ``Address`` to make it.
    public init(
        _ method: Method, _ path: String, body: JSON? = nil, ifMatch: String? = nil, idempotencyKey: String? = nil
    ) {
        self.method = method
        self.path = path
        self.body = body
        self.ifMatch = ifMatch
        self.idempotencyKey = idempotencyKey
    }

    /// Whether carrying it out twice is the same as once: reading, and a POST, whose key the manager knows again.
    var isRepeatable: Bool { method == .get || method == .post }
}

/// What the manager answered to a request that it carried out.
public struct Answer: Sendable {
    /// Of HTTP, from 200 to 299.
    public var status: Int
    /// Its entity tag, for ``Request/ifMatch``.
    public var tag: String?
    /// Under which the manager logged the request.
    public var requestID: String?
    /// As they came.
    public var bytes: [UInt8]

    /// `null` where the body is empty.
    public func json() throws(ClientError) -> JSON { bytes.isEmpty ? .null : try JSONReader.read(bytes) }
}

/// Paths and queries of the API.
public enum Address {
    /// The path of one resource of a kind, by name or ID, with further steps behind it.
    ///
    /// - Throws: ``ClientError/invalid(_:)`` for what would leave the collection.
    public static func path(_ collection: String, _ reference: String, _ more: String...) throws(ClientError) -> String
    {
        try path(collection, [reference] + more)
    }

    /// The same of all steps behind the collection.
    public static func path(_ collection: String, _ steps: [String]) throws(ClientError) -> String {
        // "." and ".." would be taken for steps in the path.
        for step in steps where step.isEmpty || step == "." || step == ".." {
            throw .invalid("'\(step)' is not a name or an ID")
        }
        return "/v1/\(collection)" + steps.map { "/" + escaped($0) }.joined()
    }

    /// `?a=b&c=d` of the parameters that are given; empty without any.
    public static func query(_ parameters: KeyValuePairs<String, String?>) -> String {
        query(parameters.map { ($0.key, $0.value) })
    }

    static func query(_ parameters: [(name: String, value: String?)]) -> String {
        let pairs = parameters.compactMap { name, value in value.map { "\(escaped(name))=\(escaped($0))" } }
        return pairs.isEmpty ? "" : "?" + pairs.joined(separator: "&")
    }

    /// RFC 3986 §2.3: all but the unreserved characters.
    public static func escaped(_ text: String) -> String {
        var result = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                result.unicodeScalars.append(Unicode.Scalar(byte))
            default: result += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
        return result
    }
}
