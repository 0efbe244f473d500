import HTTPTypes
import Hummingbird
import NIOCore
import Synchronization

/// Turns answers into HTTP: headers that all have, compression, bodies that end a connection.
struct AnswerWriter {
    let services: Services
    let record: RequestRecord
    let context: RequestScope

    func response(_ answer: Answer, to request: Request) -> Response {
        var fields = HTTPFields()
        for (name, value) in answer.headers { fields.set(name, value) }
        fields[.xContentTypeOptions] = "nosniff"
        fields[.strictTransportSecurity] = "max-age=31536000"
        if fields[.cacheControl] == nil { fields[.cacheControl] = "no-store" }
        fields.set("X-Request-ID", record.id)
        for (name, value) in record.rate?.headers ?? [] { fields.set(name, value) }
        let crossOrigin = services.crossOrigin
        if !crossOrigin.isOff {
            for (name, value) in crossOrigin.headers(for: RequestRecord.origin(of: request)) { fields.set(name, value) }
            fields.vary("Origin")
        }
        let status = HTTPResponse.Status(code: answer.status)
        let isHead = request.method == .head
        let closes = answer.header("Connection") == "close"
        switch answer.body {
        case .none:
            return Response(
                status: status, headers: fields, body: closes ? closing(ByteBuffer()) : ResponseBody())
        case .bytes(let bytes, let type):
            let body = PreparedBody(bytes, type: type)
            return response(body.chosen(for: answer, request, &fields), status, fields, isHead: isHead, closes: closes)
        case .prepared(let body):
            return response(body.chosen(for: answer, request, &fields), status, fields, isHead: isHead, closes: closes)
        case .stream(let type, let write):
            fields[.contentType] = type
            if isHead { return Response(status: status, headers: fields) }
            return Response(
                status: status, headers: fields,
                body: ResponseBody { writer in
                    try await write(&writer)
                    try await writer.finish(nil)
                })
        }
    }

    private func response(
        _ buffer: ByteBuffer, _ status: HTTPResponse.Status, _ fields: HTTPFields, isHead: Bool, closes: Bool
    ) -> Response {
        var fields = fields
        fields[.contentLength] = String(buffer.readableBytes)
        if isHead { return Response(status: status, headers: fields) }
        return Response(
            status: status, headers: fields, body: closes ? closing(buffer) : ResponseBody(byteBuffer: buffer))
    }

    /// A body after which the connection is closed, because the rest of the request is not worth reading.
    private func closing(_ buffer: ByteBuffer) -> ResponseBody {
        let channel = context.channel
        return ResponseBody(contentLength: buffer.readableBytes) { writer in
            try await writer.write(buffer)
            try await writer.finish(nil)
            channel.close(promise: nil)
        }
    }
}

/// A body as it is sent, compressed at most once however often it is asked for.
final class PreparedBody: Sendable {
    let type: String
    private let plain: ByteBuffer
    private let compressed = Lazy()

    init(_ bytes: [UInt8], type: String) {
        self.type = type
        plain = ByteBuffer(bytes: bytes)
    }

    var count: Int { plain.readableBytes }

    /// Plain or compressed, as the client reads it and the answer allows.
    fileprivate func chosen(for answer: Answer, _ request: Request, _ fields: inout HTTPFields) -> ByteBuffer {
        fields[.contentType] = type
        // A strong tag stands for these very bytes; and what holds a secret is not compressed, since its length would tell of it.
        guard plain.readableBytes >= Gzip.minimumBytes, fields[.eTag] == nil, !answer.isSecret else { return plain }
        fields.vary("Accept-Encoding")
        guard Gzip.isAccepted(by: request.headers[.acceptEncoding]), let compressed = compressed.value(of: plain) else {
            return plain
        }
        fields[.contentEncoding] = "gzip"
        return compressed
    }

    private final class Lazy: Sendable {
        private let state = Mutex<ByteBuffer??>(nil)

        func value(of plain: ByteBuffer) -> ByteBuffer? {
            if let known = state.withLock({ $0 }) { return known }
            // Two that come at once both compress; neither holds up the other.
            let made = Gzip.compress(Array(plain.readableBytesView)).map { ByteBuffer(bytes: $0) }
            state.withLock { $0 = .some(made) }
            return made
        }
    }
}

extension HTTPFields {
    mutating func set(_ name: String, _ value: String) {
        if let name = HTTPField.Name(name) { self[name] = value }
    }

    /// Adds to what the answer depends on.
    mutating func vary(_ name: String) {
        let present = self[.vary]
        self[.vary] = present.map { "\($0), \(name)" } ?? name
    }
}
