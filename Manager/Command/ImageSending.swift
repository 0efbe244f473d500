import AsyncHTTPClient
import Foundation
import NIOCore
import NIOPosix
import RoostClient

/// Sends an image's file, and goes on by itself where the connection broke or the manager was away.
struct ImageSending {
    /// How long a manager that does not answer is waited for.
    static let patience = Duration.seconds(600)
    /// Attempts in turn that brought no byte.
    static let maximumAttempts = 12
    /// Of standard input, which cannot be read twice: so much is kept until it has arrived.
    static let pieceBytes = 8 << 20
    /// Stands for standard input.
    static let input = "-"

    let client: APIClient
    let printer: Printer
    /// Of the image.
    let id: String
    let name: String
    var pause: @Sendable (Int) async throws -> Void = { attempt in
        try await Task.sleep(for: min(.seconds(10), .milliseconds(250) * (1 << min(attempt, 6))))
    }

    private var image: String { "/v1/images/\(Address.escaped(id))" }
    private var target: String { image + "/file" }

    /// The image as it is once all has arrived.
    func file(_ path: String) async throws -> JSON {
        let length = try FileUpload(path) { _ in }.length
        let progress = UploadProgress(printer, name: name, total: length)
        defer { printer.endProgress() }
        return try await persist(from: 0) { offset in
            let upload = try FileUpload(path, from: offset) { progress.report($0) }
            guard upload.length == length else { throw Failure("'\(path)' changed its size while it was sent") }
            let body = HTTPClientRequest.Body.stream(upload, length: .known(length - offset))
            return try await client.upload(target, RoostClient.FilePart(body: body, offset: offset, total: length))
        }
    }

    /// - Parameter first: what was read of it already.
    func standardInput(after first: [UInt8]) async throws -> JSON {
        let progress = UploadProgress(printer, name: name, total: nil)
        defer { printer.endProgress() }
        var (start, piece) = (Int64(0), first)
        while true {
            let next = piece.count < Self.pieceBytes ? [] : try await Self.readInput()
            let (offset, bytes, isLast) = (start, piece, next.isEmpty)
            let end = offset + Int64(bytes.count)
            let answer = try await persist(from: offset) { place in
                guard (offset...end).contains(place) else {
                    throw Failure("the manager lost what had arrived, and standard input cannot be read again")
                }
                // It had arrived, and only the answer was lost.
                if place == end, !isLast { return .null }
                let rest = ByteBuffer(bytes: bytes[Int(place - offset)...])
                return try await client.upload(
                    target,
                    RoostClient.FilePart(
                        body: .bytes(rest), offset: place, isLast: isLast, total: isLast ? end : nil))
            }
            progress.report(end)
            if isLast { return answer }
            (start, piece) = (end, next)
        }
    }

    /// The next piece of standard input; empty at its end.
    static func readInput() async throws -> [UInt8] {
        try await NIOThreadPool.singleton.runIfActive {
            var piece = [UInt8](repeating: 0, count: pieceBytes)
            var filled = 0
            while filled < piece.count {
                let count = piece.withUnsafeMutableBytes {
                    read(STDIN_FILENO, $0.baseAddress! + filled, $0.count - filled)
                }
                if count > 0 {
                    filled += count
                } else if count == 0 {
                    break
                } else if errno != EINTR {
                    throw Failure("reading standard input failed: \(String(cString: strerror(errno)))")
                }
            }
            piece.removeLast(piece.count - filled)
            return piece
        }
    }

    // MARK: Going on

    private func persist(from first: Int64, _ send: (Int64) async throws -> JSON) async throws -> JSON {
        var (offset, attempts) = (first, 0)
        while true {
            do {
                return try await send(offset)
            } catch let failure as Failure where Self.mayPass(failure) {
                guard let arrived = try await arrived(after: failure) else { return try await client.get(image) }
                attempts = arrived > offset ? 0 : attempts + 1
                guard attempts < Self.maximumAttempts else { throw failure }
                if attempts > 0 { try await pause(attempts) }
                offset = arrived
                printer.note("The upload of \(name) broke off; going on at byte \(offset).")
            }
        }
    }

    private static func mayPass(_ failure: Failure) -> Bool {
        switch failure.kind {
        case .unreachable, .unauthorised: true
        case .refused(let status, let code): status == 503 || status == 400 || code == "image_upload_offset"
        case .failed, .usage: false
        }
    }

    /// How much of the file the manager has, once it answers again; `nil`: all of it.
    private func arrived(after failure: Failure) async throws -> Int64? {
        let since = ContinuousClock.now
        var attempt = 0
        while true {
            do {
                // Asked with a fresh token, where the old one had run out.
                let upload = try await client.get(target)
                if upload["complete"].isTrue || upload["status"].text == "converting" { return nil }
                if upload["status"].text == "error" { throw try await refusal(else: failure) }
                return upload["received_bytes"].integer.map { Int64($0) } ?? 0
            } catch let error as Failure where error.kind == .unreachable && .now - since < Self.patience {
                printer.progress("waiting for the manager at \(client.endpoint)")
                attempt += 1
                try await pause(attempt)
            }
        }
    }

    /// The manager may refuse an image by its first bytes and hang up on the rest: it knows why.
    private func refusal(else failure: Failure) async throws -> Failure {
        guard let reason = try await client.get(image)["status_reason"].text, !reason.isEmpty else { return failure }
        return Failure("the manager refused the image: \(reason)")
    }
}
