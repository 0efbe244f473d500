import Crypto
import HTTPTypes
import Hummingbird
import NIOCore
import ProtocolModel

/// What a handler answers.
struct Answer: Sendable {
    enum Body: Sendable {
        case none
        case bytes([UInt8], type: String)
        /// One that several answers share.
        case prepared(PreparedBody)
        case stream(type: String, write: @Sendable (inout any ResponseBodyWriter) async throws -> Void)
    }

    var status: Int
    var headers: [(name: String, value: String)]
    var body: Body
    /// It holds what nobody else may learn, not even by its length.
    var isSecret = false

    init(status: Int, headers: [(name: String, value: String)] = [], body: Body = .none) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    static let json = "application/json"

    /// A JSON document. `tag`: a single resource, with its entity tag.
    static func document(
        _ value: JSONValue, status: Int = 200, tag: Bool = false, headers: [(name: String, value: String)] = []
    ) -> Answer {
        let bytes = value.bytes
        var headers = headers
        if tag { headers.append(("ETag", EntityTag(of: value).text)) }
        return Answer(status: status, headers: headers, body: .bytes(bytes, type: json))
    }

    /// Accepted: the resource as it is now, and where to ask how it goes on.
    static func accepted(_ value: JSONValue, operation: OperationID?) -> Answer {
        let headers = operation.map { [(name: "Operation-Location", value: "/v1/operations/\($0)")] } ?? []
        return document(value, status: 202, headers: headers)
    }

    static func created(_ value: JSONValue, at location: String) -> Answer {
        document(value, status: 201, tag: true, headers: [("Location", location)])
    }

    static let noContent = Answer(status: 204)

    func header(_ name: String) -> String? {
        headers.first { $0.name.lowercased() == name.lowercased() }?.value
    }
}

/// A strong entity tag (RFC 9110 §8.8.3): the hash of a resource's representation.
struct EntityTag: Equatable {
    let text: String

    init(of value: JSONValue) {
        text = "\"" + SHA256.hash(data: value.bytes).prefix(12).hexadecimal + "\""
    }

    /// Whether a header names this tag.
    ///
    /// - Parameter weakly: as `If-None-Match` compares (RFC 9110 §13.1.2). For `If-Match` a weak tag never matches a strong one.
    func isNamed(in header: String, weakly: Bool = false) -> Bool {
        header.split(separator: ",").map { $0.trimmed }.contains { name in
            name == "*" || name == text || weakly && name == "W/" + text
        }
    }
}

extension Substring {
    var trimmed: String {
        var rest = self
        while let first = rest.first, first == " " || first == "\t" { rest.removeFirst() }
        while let last = rest.last, last == " " || last == "\t" { rest.removeLast() }
        return String(rest)
    }
}
