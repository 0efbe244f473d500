/// A problem document (RFC 9457), or an error of the token endpoint (RFC 6749 §5.2): what was refused, and why.
public struct Problem: Error, Sendable, Equatable {
    /// What is wrong with one member of the request.
    public struct Field: Sendable, Equatable {
        /// JSON pointer into the body, or `?` and the name of a query parameter.
        public var pointer: String
        /// What is wrong with it.
        public var detail: String
    }

    /// Of HTTP.
    public var status: Int
    /// Stable, for programs: `not_found`, `quota_exceeded`, `invalid_grant`.
    public var code: String
    /// Of the code, for people.
    public var title: String
    /// A sentence that says what to do.
    public var detail: String
    /// Members that are wrong, if that is why.
    public var fields: [Field]
    /// How many nodes each filter of the placement removed, in its order.
    public var removedBy: [(filter: String, nodes: Int)] {
        document["removed_by"].members.compactMap { member in member.value.integer.map { (member.key, $0) } }
    }
    /// The running operation that is in the way.
    public var operationID: String? { document["operation_id"].text }
    /// When the manager would like to be asked again.
    public var retryAfter: Duration?
    /// Under which the manager logged the request.
    public var requestID: String?
    /// All of it, with members that this version does not know.
    public var document: JSON

    /// Reads what the manager answered with; whatever it is, there is a sentence.
    public init(status: Int, body: [UInt8], retryAfter: Duration? = nil, requestID: String? = nil) {
        let document = (try? JSONReader.read(body)) ?? .null
        self.status = status
        self.document = document
        self.retryAfter = retryAfter
        self.requestID = requestID
        code = document["code"].text ?? document["error"].text ?? ""
        title = document["title"].text ?? ""
        detail =
            document["detail"].text ?? document["error_description"].text ?? document["title"].text
            ?? "the manager answered with HTTP status \(status)"
        fields = document["errors"].items.map {
            Field(pointer: $0["pointer"].text ?? "?", detail: $0["detail"].text ?? "")
        }
    }
}
