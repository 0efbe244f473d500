import HTTPTypes
import Hummingbird
import ManagerModel
import NIOCore

/// Reads a request's body as its route declares it, within bounds of size and time.
enum BodyReader {
    /// Of any body but an upload.
    static let maximumBytes = 1024 * 1024
    /// How much of a refused body is read and dropped, so that a client in the middle of sending it still reads the
    /// answer.
    static let maximumDropped = 8 * 1024 * 1024
    static let timeout = Duration.seconds(30)

    struct Read: Sendable {
        var value: JSONValue
        var bytes: [UInt8]
    }

    static func read(_ request: Request, as body: Route.Body) async throws -> Read {
        switch body {
        case .stream: return Read(value: .null, bytes: [])
        case .none:
            let bytes = try await collect(request)
            guard bytes.isEmpty else {
                throw Refusal(.invalidRequest, "this request takes no body")
            }
            return Read(value: .null, bytes: [])
        case .json(let schema):
            let bytes = try await collect(request)
            try checkType(request, jsonTypes(request), isEmpty: bytes.isEmpty)
            return Read(value: try json(bytes, schema), bytes: bytes)
        case .optionalJSON(let schema):
            let bytes = try await collect(request)
            guard !bytes.isEmpty else { return Read(value: [:], bytes: []) }
            try checkType(request, jsonTypes(request), isEmpty: false)
            return Read(value: try json(bytes, schema), bytes: bytes)
        case .form(let schema):
            let bytes = try await collect(request)
            try checkType(request, ["application/x-www-form-urlencoded"], isEmpty: bytes.isEmpty)
            return Read(value: try form(bytes, schema), bytes: bytes)
        }
    }

    private static func json(_ bytes: [UInt8], _ schema: ObjectSchema) throws -> JSONValue {
        guard !bytes.isEmpty else {
            throw Refusal(.invalidRequest, "the body is empty; this request takes a JSON object")
        }
        let value: JSONValue
        do {
            value = try JSONParser.parse(bytes)
        } catch {
            throw Refusal(.invalidRequest, "the body is not JSON: \(error)")
        }
        try check(value, schema)
        return value
    }

    private static func form(_ bytes: [UInt8], _ schema: ObjectSchema) throws -> JSONValue {
        guard let pairs = FormText.pairs(bytes) else {
            throw Refusal(.invalidRequest, "the body is not a well-formed form")
        }
        guard Set(pairs.map(\.name)).count == pairs.count else {
            throw Refusal(.invalidRequest, "a field stands twice in the form")
        }
        // What is not known is not looked at (RFC 6749 §3.2): every form is a client's of that document.
        let known = Set(schema.fields.map(\.name))
        let value = JSONValue.object(
            pairs.filter { known.contains($0.name) }.map { JSONValue.Member($0.name, .string($0.value)) })
        try check(value, schema)
        return value
    }

    private static func check(_ value: JSONValue, _ schema: ObjectSchema) throws {
        let faults = SchemaCheck.faults(of: value, in: .object(schema))
        guard faults.isEmpty else {
            let first = faults[0]
            let place = first.pointer.isEmpty ? "the body" : String(first.pointer.dropFirst())
            let more = faults.count > 1 ? " (and \(faults.count - 1) more)" : ""
            throw Refusal(.invalidRequest, "\(place) \(first.detail)\(more)", fields: faults)
        }
    }

    /// A change is a merge patch (RFC 7396), by whichever of the two names.
    static let patchTypes = ["application/json", "application/merge-patch+json"]

    private static func jsonTypes(_ request: Request) -> [String] {
        request.method == .patch ? patchTypes : ["application/json"]
    }

    private static func checkType(_ request: Request, _ wanted: [String], isEmpty: Bool) throws {
        let type = request.headers[.contentType]?.split(separator: ";").first?.trimmed.lowercased()
        if type == nil, isEmpty { return }
        guard let type, wanted.contains(type) else {
            throw Problem(
                .unsupportedMediaType,
                "This request takes a body of type \(wanted[0]); set the header Content-Type to that.",
                // RFC 5789 §3.1
                headers: request.method == .patch ? [("Accept-Patch", wanted.joined(separator: ", "))] : [])
        }
    }

    /// The whole body, at most `maximumBytes`, within `timeout`.
    private static func collect(_ request: Request) async throws -> [UInt8] {
        try await withThrowingTaskGroup(of: [UInt8].self) { group in
            group.addTask { try await gather(request) }
            group.addTask {
                try await Task.sleep(for: timeout)
                throw Problem(
                    .requestTimeout, "The body did not come within 30 s; send it faster or in smaller parts.",
                    headers: [("Connection", "close")])
            }
            defer { group.cancelAll() }
            return try await group.next() ?? []
        }
    }

    private static func gather(_ request: Request) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        var count = 0
        var iterator = request.body.makeAsyncIterator()
        while let buffer = try await next(&iterator) {
            count += buffer.readableBytes
            if count <= maximumBytes {
                bytes += buffer.readableBytesView
            } else if count > maximumBytes + maximumDropped {
                break
            }
        }
        guard count <= maximumBytes else {
            let isUnread = count > maximumBytes + maximumDropped
            throw Problem(
                .bodyTooLarge, "The body is larger than 1 MiB, which is the most that this request may carry.",
                headers: isUnread ? [("Connection", "close")] : [])
        }
        return bytes
    }

    /// The next part of a body. That it does not come, or is not well-formed, is the sender's fault and not ours.
    static func next(_ iterator: inout RequestBody.AsyncIterator) async throws -> ByteBuffer? {
        do {
            return try await iterator.next()
        } catch let error as CancellationError {
            throw error
        } catch {
            var problem = Problem(
                Refusal(.invalidRequest, "the body broke off or is not well-formed; send the request again"))
            problem.headers.append(("Connection", "close"))
            throw problem
        }
    }
}
