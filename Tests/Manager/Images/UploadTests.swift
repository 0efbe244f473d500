import Foundation
import Glibc
import Logging
import ManagerImageHeaders
import ProcessFiles
import ProtocolModel
import ProtocolTransfer
import Testing

@testable import ManagerImages

/// Files that arrive in pieces, over several connections and several lives of the manager.
@Suite struct UploadTests {
    private let folder = NSTemporaryDirectory() + "roost-uploads-\(UUID().uuidString)"
    private let image = ImageID.generate(at: Timestamp(milliseconds: 1))
    private let bytes = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 7) }

    private func store() throws -> ImageStore { try ImageStore(folder: folder, logger: Logger(label: "test")) }

    private func files() -> [String] {
        (FileManager.default.enumerator(atPath: folder)?.compactMap { $0 as? String } ?? []).sorted()
    }

    @Test("a cut connection leaves what came; another goes on there, and the hash is the whole file's")
    func resumes() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try store()
        let first = try await store.beginUpload(image)
        try await first.append(Array(bytes[..<1_000_000]))
        let handle = try #require(try await store.upload(image))
        #expect(await handle.byteCount == 1_000_000)
        await #expect(throws: ImageError.uploadOffset(expected: 1_000_000)) { try await handle.attach(at: 999_999) }
        try await first.append([])
        let second = try await handle.attach(at: 1_000_000)
        // The first connection, which only seemed dead, cannot write any more.
        await #expect(throws: ImageError.uploadSuperseded) { try await first.append([1]) }
        await #expect(throws: ImageError.uploadSuperseded) { try await first.finish() }
        await first.cancel()
        try await second.append(Array(bytes[1_000_000...]))
        let summary = try await second.finish()
        #expect(summary.byteCount == Int64(bytes.count))
        #expect(summary.sha256 == Manifest.digest(of: bytes))
        await #expect(throws: ImageError.uploadClosed) { try await second.append([1]) }
        #expect(try await store.upload(image) == nil)
    }

    @Test("after a restart the hash is made again of what is there")
    func resumesAfterARestart() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let first = try await store().beginUpload(image)
        try await first.append(Array(bytes[..<1_234_567]))
        let other = ImageID.generate(at: Timestamp(milliseconds: 2))
        let next = try store()
        #expect(next.recover(keeping: [], arriving: [image, other]).arriving == [image])
        #expect(try await next.upload(other) == nil)
        let handle = try #require(try await next.upload(image))
        let writer = try await handle.attach(at: 1_234_567)
        try await writer.append(Array(bytes[1_234_567...]))
        #expect(try await writer.finish() == UploadSummary(sha256: Manifest.digest(of: bytes), byteCount: 3_000_000))
        #expect(try await next.registerInspected(image, .raw).virtualSize == 3_000_320)
    }

    @Test("what nobody waits for is removed at the start")
    func recovers() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let handle = try await store().beginUpload(image)
        try await handle.append([1, 2, 3])
        for name in ["x.image", "\(image).convert"] {
            try FileManager.default.createDirectory(
                atPath: "\(folder)/staging/\(name)", withIntermediateDirectories: true)
        }
        let next = try store()
        #expect(next.recover(keeping: []) == ([], []))
        #expect(files() == ["staging"])
        #expect(try await next.upload(image) == nil)
    }

    @Test("one that begins anew replaces what came before")
    func beginsAnew() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try store()
        let first = try await store.beginUpload(image)
        try await first.append([9, 9, 9])
        let second = try await store.beginUpload(image)
        await #expect(throws: ImageError.uploadClosed) { try await first.append([1]) }
        try await second.append(Array(bytes[..<10]))
        try await second.restart()
        try await second.append([7])
        #expect(try await second.finish() == UploadSummary(sha256: Manifest.digest(of: [7]), byteCount: 1))
        await #expect(throws: ImageError.uploadExists("\(image)")) { try await store.beginUpload(image) }
    }

    @Test("SEC-05 links and pipes in the store's folder are never followed")
    func links() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try store()
        let (secret, staged) = (folder + "/secret", "\(folder)/staging/\(image).upload")
        try Data("secret".utf8).write(to: URL(fileURLWithPath: secret))
        symlink(secret, staged)
        #expect(store.recover(keeping: [], arriving: [image]).arriving == [image])
        await #expect { try await store.upload(image) } throws: { ($0 as? ImageError)?.code == "image_store_error" }
        let writer = try await store.beginUpload(image)
        try await writer.append([7])
        #expect(try Data(contentsOf: URL(fileURLWithPath: secret)) == Data("secret".utf8))
        await writer.cancel()
        let made = folder + "/raw"
        for make: () -> Int32 in [{ mkfifo(made, 0o600) }, { link(secret, made) }] {
            try #require(make() == 0)
            #expect(try !OpenFile(path: made, flags: O_RDONLY | O_NONBLOCK).isPlain())
            unlink(made)
        }
        symlink(secret, made)
        #expect(throws: ImageError.self) { try OpenFile(path: made, flags: O_RDONLY | O_NONBLOCK) }
    }
}
