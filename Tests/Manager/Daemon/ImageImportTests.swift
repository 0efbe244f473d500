import Crypto
import Foundation
import Testing

/// Images on their way into a real manager, which is killed meanwhile.
@Suite("Images arrive at a manager that is killed", .timeLimit(.minutes(3)))
struct ImageImportTests {
    private let text = String(repeating: "all of the disk's content; ", count: 40_000)
    private var checksum: String {
        "sha256:"
            + SHA256.hash(data: Data(text.utf8)).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }
            .joined()
    }

    private func image(
        _ name: String, in manager: ManagerProcess, _ token: String, until status: String
    ) async throws
        -> ManagerProcess.Answer
    {
        let end = ContinuousClock.now + .seconds(60)
        while true {
            let answer = try await manager.send("GET", "/v1/images/\(name)", token: token)
            if answer["status"] == status || ContinuousClock.now > end { return answer }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    /// What is left of uploads, once an import that has just ended has tidied up.
    private func staged(by manager: ManagerProcess) async throws -> [String] {
        let end = ContinuousClock.now + .seconds(20)
        while true {
            let files = try FileManager.default.contentsOfDirectory(atPath: manager.folder + "/data/images/staging")
            if files.isEmpty || ContinuousClock.now > end { return files }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    private func send(
        _ text: Substring, at offset: Int, isLast: Bool, to manager: ManagerProcess, _ token: String
    ) async throws -> ManagerProcess.Answer {
        try await manager.send(
            "PATCH", "/v1/images/disk/file", String(text), type: "application/octet-stream", token: token,
            headers: ["Upload-Offset": "\(offset)", "Upload-Complete": isLast ? "?1" : "?0"])
    }

    @Test("what had arrived is there after it, and the rest makes the same file")
    func upload() async throws {
        let first = try await ManagerProcess.start(logLevel: "info")
        defer { first.remove() }
        let token = try await first.signIn()
        let made = try await first.send(
            "POST", "/v1/images", #"{"name":"disk","format":"raw","checksum":"\#(checksum)"}"#, token: token)
        #expect(made.status == 201, "\(made)")
        let half = text.utf8.count / 2
        let part = try await send(text.prefix(half), at: 0, isLast: false, to: first, token)
        #expect(part.status == 204, "\(part)")

        let second = try await first.killed()
        let standing = try await second.send("GET", "/v1/images/disk/file", token: token)
        #expect(standing.body.contains("\"received_bytes\":\(half),"), "\(standing)")
        let rest = try await send(text.dropFirst(half), at: half, isLast: true, to: second, token)
        #expect(rest.status == 202, "\(rest)")
        let image = try await image("disk", in: second, token, until: "active")
        #expect(image["status"] == "active" && image["checksum"] == checksum, "\(image)")

        // Another with that checksum that holds something else is refused, and leaves nothing.
        _ = try await second.send(
            "POST", "/v1/images", #"{"name":"other","format":"raw","checksum":"\#(checksum)"}"#, token: token)
        let wrong = try await second.send(
            "PUT", "/v1/images/other/file", "another content", type: "application/octet-stream", token: token)
        #expect(wrong.status == 422 && wrong["code"] == "image_checksum_mismatch", "\(wrong)")
        #expect(try await staged(by: second) == [])

        // A third that nobody sends the rest of is deleted with what came.
        _ = try await second.send("POST", "/v1/images", #"{"name":"third","format":"raw"}"#, token: token)
        _ = try await second.send(
            "PATCH", "/v1/images/third/file", "some", type: "application/octet-stream", token: token,
            headers: ["Upload-Offset": "0", "Upload-Complete": "?0"])
        #expect(try FileManager.default.contentsOfDirectory(atPath: second.folder + "/data/images/staging").count == 1)
        #expect(try await second.send("DELETE", "/v1/images/third", token: token).status == 204)
        #expect(try await staged(by: second) == [])
        _ = try await second.stop()
    }

    @Test("an image is fetched from an address that the operator allows, with its certificate verified")
    func fetch() async throws {
        let manager = try await ManagerProcess.start(
            logLevel: "info",
            settings: ["images.allowed_hosts=localhost", "images.authority_file=FOLDER/data/ca.pem"])
        defer { manager.remove() }
        let token = try await manager.signIn()
        // What it serves to anybody is as good a file as any other.
        let document = try await manager.send("GET", "/v1/openapi.json").body
        let hash = SHA256.hash(data: Data(document.utf8)).map {
            String($0 >> 4, radix: 16) + String($0 & 15, radix: 16)
        }.joined()
        func create(_ name: String, _ url: String, _ sum: String) async throws {
            let made = try await manager.send(
                "POST", "/v1/images",
                #"{"name":"\#(name)","format":"raw","url":"\#(url)","checksum":"sha256:\#(sum)"}"#,
                token: token)
            #expect(made.status == 201, "\(made)")
        }
        try await create("good", manager.address + "/v1/openapi.json", hash)
        let good = try await image("good", in: manager, token, until: "active")
        #expect(good["checksum"] == "sha256:" + hash, "\(good)")
        try await create("changed", manager.address + "/v1/openapi.json", String(hash.reversed()))
        let changed = try await image("changed", in: manager, token, until: "error")
        #expect(changed["status_reason"]?.contains("SHA-256") == true, "\(changed)")
        // SEC-04: the same host by another name.
        try await create("inside", "https://127.0.0.1:\(manager.ports[0])/v1/openapi.json", hash)
        let inside = try await image("inside", in: manager, token, until: "error")
        #expect(inside["status_reason"]?.contains("not on the public Internet") == true, "\(inside)")
        try await create("absent", manager.address + "/nothing-here", hash)
        let absent = try await image("absent", in: manager, token, until: "error")
        #expect(absent["status_reason"]?.contains("404") == true, "\(absent)")
        #expect(try await staged(by: manager) == [])
        _ = try await manager.stop()
    }
}
