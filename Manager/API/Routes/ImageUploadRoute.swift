import HTTPTypes
import Hummingbird
import ManagerLifecycle
import ManagerModel
import ManagerStore
import NIOCore
import ProtocolModel

/// Receives an image's file as it comes: one buffer at a time, so that neither size nor speed of the sender costs
/// memory.
enum ImageUploadRoute {
    @Sendable static func upload(_ call: Call) async throws -> Answer {
        let type = call.headers[.contentType]?.split(separator: ";").first?.trimmed.lowercased()
        guard type == "application/octet-stream" else {
            throw Problem(.unsupportedMediaType, "An image's file is sent as application/octet-stream.")
        }
        let expected = try expectedBytes(call)
        // Claimed before a byte is read: whoever may not send it is told at once, and no second upload begins.
        let image = try await call.services.store.write {
            try call.commands(in: $0).beginUpload(call.parameter("ref"), by: call.services.site.manager)
        }
        do {
            try await take(call, image, expected: expected)
        } catch {
            try await fail(image, error, call)
            throw error
        }
        return try await call.read { transaction in
            let image = try call.commands(in: transaction).image(image.id.description)
            let document = try ImageResource.encode(image, Names(transaction), in: transaction)
            return .accepted(document, operation: image.operation)
        }
    }

    private static func take(_ call: Call, _ image: Image, expected: Int64?) async throws {
        let upload = try await call.services.uploads.begin(image, expectedBytes: expected)
        do {
            try await receive(call.stream, expected: expected, into: upload)
        } catch {
            await upload.cancel()
            throw error
        }
        try await upload.finish()
    }

    /// Leaves the reason with the image, whose file can then be sent again.
    private static func fail(_ image: Image, _ error: any Error, _ call: Call) async throws {
        let problem = Problem(error)
        let code = problem?.code ?? "upload_interrupted"
        let sentence = problem?.detail ?? "The upload was interrupted; send the file again."
        try await call.services.store.write { transaction in
            try call.commands(in: transaction).failImport(image.id, code: code, sentence: sentence)
        }
    }

    private static func receive(_ body: RequestBody, expected: Int64?, into upload: any ImageUpload) async throws {
        var received: Int64 = 0
        var iterator = body.makeAsyncIterator()
        while let buffer = try await BodyReader.next(&iterator) {
            received += Int64(buffer.readableBytes)
            guard received <= Limits.imageBytes else {
                throw Problem(
                    .bodyTooLarge, "The file is larger than 16 TiB, the largest image there can be.",
                    headers: [("Connection", "close")])
            }
            try await upload.append(buffer)
        }
        // A cancelled task sees the end of the body early; that must not pass for a complete file (P7).
        try Task.checkCancellation()
        guard received > 0 else { throw Refusal(.invalidRequest, "the file is empty; send the image as the body") }
        if let expected, received != expected {
            throw Refusal(
                .invalidRequest,
                "the file was cut short: \(received) of \(expected) bytes came; send it again from the start")
        }
    }

    private static func expectedBytes(_ call: Call) throws -> Int64? {
        guard let text = call.headers[.contentLength] else { return nil }
        guard let bytes = Int64(text), bytes >= 0 else {
            throw Refusal(.invalidRequest, "the header Content-Length is no number of bytes")
        }
        guard bytes <= Limits.imageBytes else {
            throw Problem(
                .bodyTooLarge, "The file is larger than 16 TiB, the largest image there can be.",
                headers: [("Connection", "close")])
        }
        return bytes
    }
}
