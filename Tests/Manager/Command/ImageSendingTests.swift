import ArgumentParser
import Foundation
import NIOHTTP1
import RoostClient
import Synchronization
import Testing
import TestsSupportHTTP

@testable import ManagerCommand

@Suite("Sending an image's file")
struct ImageSendingTests {
    /// A manager that takes a file, and breaks off when it is told to.
    private final class Receiver: Sendable {
        struct State {
            var bytes: [UInt8] = []
            var isComplete = false
            var offsets: [Int] = []
        }
        let state = Mutex(State())
        /// What happens to the n-th part: so many of its bytes are kept, and no answer given.
        let cuts: [Int: Int]

        init(cuts: [Int: Int]) { self.cuts = cuts }

        @Sendable func answer(_ request: LoopbackServer.Request) -> LoopbackServer.Reply {
            state.withLock { state in
                guard request.method == .PATCH else {
                    guard request.path.hasSuffix("/file") else {
                        return .init(body: #"{"id":"1","status":"converting"}"#)
                    }
                    return .init(
                        body:
                            #"{"status":"saving","received_bytes":\#(state.bytes.count),"complete":\#(state.isComplete)}"#
                    )
                }
                let offset = request.headers.first(name: "upload-offset").flatMap { Int($0) } ?? -1
                state.offsets.append(offset)
                guard offset == state.bytes.count else {
                    return .init(status: .conflict, body: #"{"code":"image_upload_offset","detail":"elsewhere"}"#)
                }
                if let kept = cuts[state.offsets.count] {
                    state.bytes += request.body.prefix(kept)
                    return .init(hangsUp: true)
                }
                state.bytes += request.body
                guard request.headers.first(name: "upload-complete") == "?1" else {
                    return .init(status: .noContent, body: "")
                }
                state.isComplete = true
                return .init(status: .accepted, body: #"{"operation_id":"o"}"#)
            }
        }
    }

    private func sending(_ client: APIClient) -> ImageSending {
        ImageSending(client: client, printer: Printer(quiet: true), id: "1", name: "debian", pause: { _ in })
    }

    private let content = (0..<(FileUpload.pieceBytes + 17)).map { UInt8(truncatingIfNeeded: $0 &* 31) }

    private func file() throws -> String {
        let path = NSTemporaryDirectory() + "image-\(UUID().uuidString)"
        try Data(content).write(to: URL(fileURLWithPath: path))
        return path
    }

    @Test("an upload that breaks off goes on by itself where the manager has it")
    func resumes() async throws {
        let (receiver, path) = (Receiver(cuts: [1: 1000, 2: 0, 3: 500_000]), try file())
        defer { try? FileManager.default.removeItem(atPath: path) }
        try await APIClientTests.run({ request, _ in receiver.answer(request) }) { client, _ in
            let answer = try await sending(client).file(path)
            #expect(answer["operation_id"].text == "o")
        }
        receiver.state.withLock { state in
            #expect(state.bytes == content)
            #expect(state.offsets == [0, 1000, 1000, 501_000])
        }
    }

    @Test("where only the answer was lost, the file is not sent again")
    func lostAnswer() async throws {
        let path = try file()
        defer { try? FileManager.default.removeItem(atPath: path) }
        try await APIClientTests.run({ request, _ in
            switch request.method {
            case .PATCH: .init(hangsUp: true)
            default:
                request.path.hasSuffix("/file")
                    ? .init(body: #"{"status":"converting","received_bytes":1,"complete":true}"#)
                    : .init(body: #"{"id":"1","operation_id":"o"}"#)
            }
        }) { client, server in
            let answer = try await sending(client).file(path)
            #expect(answer["operation_id"].text == "o")
            #expect(server.requests.filter { $0.method == .PATCH }.count == 1)
        }
    }

    @Test("an image that was refused meanwhile is not sent again, and the reason is said")
    func refused() async throws {
        let path = try file()
        defer { try? FileManager.default.removeItem(atPath: path) }
        try await APIClientTests.run({ request, _ in
            request.method == .PATCH
                ? .init(hangsUp: true) : .init(body: #"{"status":"error","status_reason":"it names a backing file"}"#)
        }) { client, server in
            let failure = await #expect(throws: Failure.self) { try await sending(client).file(path) }
            #expect(failure?.sentence == "the manager refused the image: it names a backing file")
            #expect(server.requests.filter { $0.method == .PATCH }.count == 1)
        }
        // And one that is refused outright.
        try await APIClientTests.run({ _, _ in
            .init(status: .unprocessableEntity, body: #"{"code":"image_encrypted","detail":"it is encrypted"}"#)
        }) { client, server in
            let failure = await #expect(throws: Failure.self) { try await sending(client).file(path) }
            #expect(failure?.sentence == "it is encrypted" && server.requests.count == 1)
        }
    }

    @Test("a manager that takes no byte is given up on")
    func givesUp() async throws {
        let (receiver, path) = (Receiver(cuts: Dictionary(uniqueKeysWithValues: (1...50).map { ($0, 0) })), try file())
        defer { try? FileManager.default.removeItem(atPath: path) }
        try await APIClientTests.run({ request, _ in receiver.answer(request) }) { client, _ in
            let failure = await #expect(throws: Failure.self) { try await sending(client).file(path) }
            #expect(failure?.kind == .unreachable)
        }
        #expect(receiver.state.withLock { $0.offsets.count } == ImageSending.maximumAttempts)
    }

    @Test("the places that an image comes from exclude each other")
    func arguments() throws {
        @Sendable func parsed(_ words: String...) -> Bool { (try? Roost.parseAsRoot(["image"] + words)) != nil }
        #expect(parsed("create", "x", "--file", "-"))
        #expect(parsed("create", "x", "--url", "https://example.org/x", "--checksum", "sha256:00"))
        #expect(!parsed("create", "x"))
        #expect(!parsed("create", "x", "--file", "f", "--url", "https://example.org/x"))
        #expect(parsed("create", "x", "--from-instance", "web"))
        #expect(!parsed("create", "x", "--from-instance", "web", "--file", "-"))
        #expect(!parsed("create", "x", "--from-instance", "web", "--format", "qcow2"))
        #expect(parsed("replace", "x", "--file", "f") && parsed("replace", "x", "--with", "y"))
        #expect(!parsed("replace", "x") && !parsed("replace", "x", "--with", "y", "--file", "f"))
        #expect(parsed("update", "x", "--name", "y") && parsed("set", "x", "--property", "a=b"))
        #expect(!parsed("unset", "x") && parsed("unset", "x", "--protected"))
    }
}
