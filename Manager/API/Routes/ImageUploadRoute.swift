import HTTPTypes
import Hummingbird
import ManagerLifecycle
import ManagerModel
import ManagerStore
import NIOCore
import ProtocolModel
import Synchronization

/// Receives an image's file as it comes: one buffer at a time, so that neither size nor speed of the sender costs memory.
///
/// `PUT` sends it whole. What a cut connection leaves is gone on with by `PATCH`, which says in `Upload-Offset` where, and in
/// `Upload-Complete` whether the file ends with it (draft-ietf-httpbis-resumable-upload); `HEAD` tells the offset.
enum ImageUploadRoute {
    static let standing = ObjectSchema.answer(
        "ImageUpload",
        [("status", .text), ("received_bytes", .count), ("expected_bytes", .nullable(.count)), ("complete", .boolean)])

    /// What the request says of its place in the file.
    private struct Part {
        var offset: Int64 = 0
        var isLast = true
        /// Of the whole file.
        var expected: Int64?
    }

    @Sendable static func put(_ call: Call) async throws -> Answer {
        try checkType(call)
        let length = try number(call, "Content-Length")
        return try await receive(call, Part(expected: length), continuing: false)
    }

    @Sendable static func patch(_ call: Call) async throws -> Answer {
        try checkType(call)
        // Who may not send this file, or not any more, hears that first.
        try await call.read { transaction in
            let image = try call.commands(in: transaction).image(call.parameter("ref"))
            guard [.queued, .error, .saving].contains(image.status) else {
                throw Refusal(
                    .conflict, "image '\(image.name)' is \(image.status.rawValue); only a queued one takes a file",
                    operation: image.operation)
            }
        }
        guard let offset = try number(call, "Upload-Offset") else {
            throw Refusal(
                .invalidRequest, "the header Upload-Offset is missing; HEAD of the same path tells what it must be")
        }
        var part = Part(offset: offset)
        switch call.header("Upload-Complete") {
        case nil, "?1": break
        case "?0": part.isLast = false
        default: throw Refusal(.invalidRequest, "the header Upload-Complete must be ?1 or ?0")
        }
        part.expected = try number(call, "Upload-Length")
        if part.expected == nil, part.isLast, let length = try number(call, "Content-Length") {
            part.expected = offset + length
        }
        return try await receive(call, part, continuing: true)
    }

    @Sendable static func standing(_ call: Call) async throws -> Answer {
        let image = try await call.read { transaction in
            let commands = try call.commands(in: transaction)
            let image = try commands.image(call.parameter("ref"))
            try commands.checkOwnership(of: image)
            return image
        }
        let received = image.status == .saving ? try await call.services.uploads.received(image.id) ?? 0 : 0
        let isComplete = ![.queued, .saving, .error].contains(image.status)
        let bytes = isComplete ? image.uploadBytes ?? 0 : received
        let document: JSONValue = [
            "status": .string(image.status.rawValue), "received_bytes": .count(bytes),
            "expected_bytes": .count(image.expectedBytes), "complete": .boolean(isComplete),
        ]
        return .document(
            document,
            headers: [("Upload-Offset", "\(bytes)"), ("Upload-Complete", isComplete ? "?1" : "?0")])
    }

    // MARK: Receiving

    private static func receive(_ call: Call, _ part: Part, continuing: Bool) async throws -> Answer {
        // Claimed before a byte is read: whoever may not send it is told at once, and no second upload begins.
        let image = try await call.services.store.write { transaction in
            let commands = try call.commands(in: transaction)
            if continuing, part.offset > 0, try commands.image(call.parameter("ref")).status != .saving {
                throw misplaced(expected: 0)
            }
            return try commands.beginUpload(
                call.parameter("ref"), by: call.services.site.manager, continuing: continuing)
        }
        let expected = part.expected ?? image.expectedBytes
        if let expected, let announced = image.expectedBytes, expected != announced {
            let refusal = Refusal(
                .invalidRequest,
                "the file has \(expected) bytes, but \(announced) were announced for the image; send the right one")
            if part.offset > 0 { throw refusal }
            return try await refuse(image, call, refusal)
        }
        let upload: any ImageUpload
        do {
            upload = try await call.services.uploads.open(image, at: part.offset, expectedBytes: expected)
        } catch let error as UploadMisplaced {
            throw misplaced(expected: error.expected)
        } catch {
            return try await refuse(image, call, error)
        }
        let arrival = Arrival(call, image, expected: expected)
        do {
            let end = try await take(call, part, expected: expected, into: upload, arrival)
            guard part.isLast else {
                try await arrival.note(end, reason: "waiting for the rest of the file")
                return Answer(status: 204, headers: [("Upload-Offset", "\(end)"), ("Upload-Complete", "?0")])
            }
        } catch let error as Interruption {
            // What came stays: its sender, or another manager's life, goes on from there.
            try await arrival.note(arrival.bytes, reason: "waiting for the rest of the file")
            throw error.cause
        } catch let refusal as Refusal where refusal.detailCode == "image_upload_superseded" {
            throw refusal
        } catch {
            await upload.cancel()
            return try await refuse(image, call, error)
        }
        do {
            try await upload.finish()
        } catch let refusal as Refusal where refusal.detailCode == "image_upload_superseded" {
            throw refusal
        } catch {
            return try await refuse(image, call, error)
        }
        return try await call.read { transaction in
            let image = try call.commands(in: transaction).image(image.id.description)
            let document = try ImageResource.encode(image, Names(transaction), in: transaction, for: call.actor)
            return .accepted(document, operation: image.operation)
        }
    }

    /// The connection ended before the request did.
    private struct Interruption: Error {
        var cause: any Error
    }

    /// - Returns: where the file ends now.
    private static func take(
        _ call: Call, _ part: Part, expected: Int64?, into upload: any ImageUpload, _ arrival: Arrival
    ) async throws -> Int64 {
        var end = part.offset
        var iterator = call.stream.makeAsyncIterator()
        while true {
            let buffer: ByteBuffer?
            do {
                buffer = try await BodyReader.next(&iterator)
                // A cancelled task sees the end of the body early; that must not pass for a complete file (P7).
                try Task.checkCancellation()
            } catch {
                throw Interruption(cause: error)
            }
            guard let buffer else { break }
            end += Int64(buffer.readableBytes)
            guard end <= expected ?? Limits.imageBytes else { throw tooLarge(expected) }
            try await upload.append(buffer)
            try await arrival.reached(end)
        }
        guard part.isLast else { return end }
        guard end > 0 else { throw Refusal(.invalidRequest, "the file is empty; send the image as the body") }
        if let expected, end != expected {
            throw Interruption(
                cause: Refusal(
                    .invalidRequest,
                    "the file was cut short: \(end) of \(expected) bytes came; go on with PATCH and Upload-Offset: \(end)"
                ))
        }
        return end
    }

    private static func tooLarge(_ expected: Int64?) -> any Error {
        guard let expected else {
            return Problem(
                .bodyTooLarge, "The file is larger than 16 TiB, the largest image there can be.",
                headers: [("Connection", "close")])
        }
        return Refusal(.invalidRequest, "more bytes came than the \(expected) that were announced")
    }

    /// Leaves the reason with the image, whose file can then be sent again from its start.
    private static func refuse(_ image: Image, _ call: Call, _ error: any Error) async throws -> Answer {
        let problem = Problem(error)
        let code = problem?.code ?? "upload_failed"
        let sentence = problem?.detail ?? "The upload failed; send the file again."
        await call.services.uploads.discard(image.id)
        try await call.services.store.write { transaction in
            try call.commands(in: transaction).failImport(image.id, code: code, sentence: sentence)
        }
        throw error
    }

    // MARK: Headers

    private static func checkType(_ call: Call) throws {
        let type = call.headers[.contentType]?.split(separator: ";").first?.trimmed.lowercased()
        guard type == "application/octet-stream" || type == "application/partial-upload" && call.method == .patch else {
            throw Problem(.unsupportedMediaType, "An image's file is sent as application/octet-stream.")
        }
    }

    private static func number(_ call: Call, _ name: String) throws -> Int64? {
        guard let text = call.header(name) else { return nil }
        guard text.utf8.allSatisfy({ (48...57).contains($0) }), let bytes = Int64(text) else {
            throw Refusal(.invalidRequest, "the header \(name) is no number of bytes")
        }
        guard bytes <= Limits.imageBytes else { throw tooLarge(nil) }
        return bytes
    }

    private static func misplaced(expected: Int64) -> any Error {
        Problem(
            Refusal(
                .conflict, "\(expected) bytes of the file have arrived; go on from there",
                detailCode: "image_upload_offset"), headers: [("Upload-Offset", "\(expected)")])
    }
}

/// Tells the record now and then how much of a file has arrived.
private final class Arrival: Sendable {
    private static let interval = Duration.seconds(2)

    private let call: Call
    private let image: Image
    private let expected: Int64?
    private let state: Mutex<(bytes: Int64, toldAt: Uptime)>

    init(_ call: Call, _ image: Image, expected: Int64?) {
        self.call = call
        self.image = image
        self.expected = expected
        state = Mutex((image.uploadBytes ?? 0, call.services.time.uptime))
    }

    var bytes: Int64 { state.withLock { $0.bytes } }

    func reached(_ bytes: Int64) async throws {
        let now = call.services.time.uptime
        let isDue = state.withLock { state in
            state.bytes = bytes
            guard now - state.toldAt >= Self.interval else { return false }
            state.toldAt = now
            return true
        }
        if isDue { try await note(bytes, reason: nil) }
    }

    func note(_ bytes: Int64, reason: String?) async throws {
        let (call, image, expected) = (call, image, expected)
        // Also where the request was cancelled with its connection.
        try await Task {
            try await call.services.store.write { transaction in
                try call.commands(in: transaction).noteArrival(image.id, bytes: bytes, of: expected, reason: reason)
            }
        }.value
    }
}
