import Foundation
import Glibc
import ManagerModel
import ProtocolModel
import Testing
import TestsSupportStore

@testable import ManagerStore

@Suite("SQLite file")
struct FileTests {
    @Test("one process at a time has the file; the other is told whom to stop (STB-07)")
    func lock() throws {
        let place = try StorePlace(.sqlite)
        guard case .file(let path) = place.location else { return }
        let store = try Store(place.location)
        do {
            _ = try Store(place.location)
            Issue.record("the file was opened twice")
        } catch {
            #expect("\(error)".contains("process \(getpid()) has the record \(path) open"), "\(error)")
        }
        store.close()
        try Store(place.location).close()
        withExtendedLifetime(place) {}
    }

    @Test(
        "a full disk refuses writes, keeps what was acknowledged, and is forgotten once there is room",
        .enabled(if: geteuid() == 0, "mounting a small disk needs root"))
    func full() async throws {
        let folder = NSTemporaryDirectory() + "roost-full-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        try #require(mount("roost-test", folder, "tmpfs", 0, "size=2m") == 0)
        defer {
            // MNT_DETACH
            umount2(folder, 2)
            try? FileManager.default.removeItem(atPath: folder)
        }
        let filler = folder + "/filler"
        _ = FileManager.default.createFile(atPath: filler, contents: Data(count: 600_000))
        let store = try Store(path: folder + "/roost.sqlite")
        let text = String(repeating: "x", count: 20_000)
        var acknowledged: [String] = []
        var failure: StoreError?
        while failure == nil, acknowledged.count < 1000 {
            let name = "s\(acknowledged.count)"
            do {
                try await store.write { try $0.siteSettings.set(name, text) }
                acknowledged.append(name)
            } catch let error as StoreError { failure = error }
        }
        #expect(failure == .diskFull)
        #expect(!acknowledged.isEmpty)
        await #expect(throws: StoreError.diskFull) { try await store.write { try $0.siteSettings.set("more", text) } }
        // Reading goes on.
        let kept = acknowledged
        func missing() async throws -> [String] {
            try await store.read { sql in try kept.filter { try sql.siteSettings.value($0) != text } }
        }
        #expect(try await missing() == [])
        try FileManager.default.removeItem(atPath: filler)
        _ = try await store.write { try $0.siteSettings.set("more", text) }
        #expect(await store.shortcomings() == [])
        #expect(try await missing() == [])
        store.close()
        let connection = try SQLiteConnection(path: folder + "/roost.sqlite", role: .reading)
        #expect(try connection.query("PRAGMA integrity_check").map { $0["integrity_check"] } == [.text("ok")])
    }
}
