@testable import AgentDurability
import Foundation
import Testing
import TestsSupportFiles

@Suite("Files that survive")
struct DurabilityTests {
    @Test("a checksum that others computed too")
    func checksum() {
        // RFC 3720, appendix B.4.
        #expect(Checksum.crc32c([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(Checksum.crc32c(Array("123456789".utf8)) == 0xE306_9283)
    }

    @Test("whichever call fails, the old content or the new is there, whole")
    func crashPoints() throws {
        let folder = ScratchFolder()
        let files = FaultyFileSystem()
        let file = CheckedFile(path: folder.path + "/file", files: files)
        try file.save([1, 2, 3])
        var failures = 0
        for call in 1...10 {
            files.fail(at: call)
            let saved = (try? file.save([4, 5, 6])) != nil
            files.fail(at: nil)
            let loaded = try CheckedFile(path: folder.path + "/file").load()
            #expect(loaded == .content([4, 5, 6]) || (!saved && loaded == .content([1, 2, 3])))
            if saved { break }
            failures += 1
            try file.save([1, 2, 3])
        }
        #expect(failures == 3)
    }

    @Test("what is loaded is durable, since whoever saved it may have died before it was")
    func loadedIsDurable() throws {
        let folder = ScratchFolder()
        let files = FaultyFileSystem()
        let file = CheckedFile(path: folder.path + "/file", files: files)
        // Written and named; the name is not on the disk.
        files.fail(at: 3)
        #expect(throws: FileProblem.self) { try file.save([1]) }
        #expect(throws: FileProblem.self) { try file.load() }
        files.fail(at: nil)
        #expect(try file.load() == .content([1]))
    }

    @Test("every damaged byte is noticed, and the damaged file kept")
    func damage() throws {
        let folder = ScratchFolder()
        let path = folder.path + "/file"
        let file = CheckedFile(path: path)
        #expect(try file.load() == .absent)
        try file.save(Array("content".utf8))
        let good = try #require(try HostFileSystem().read(path, limit: 1000))
        for index in good.indices {
            var bad = good
            bad[index] ^= 0x10
            #expect(CheckedFile.content(of: bad) == nil)
            #expect(CheckedFile.content(of: Array(good[..<index])) == nil)
        }
        try HostFileSystem().write(Array(good.dropLast()), to: path, mode: 0o600)
        #expect(try file.load() == .damaged(copy: path + ".damaged"))
        #expect(FileManager.default.fileExists(atPath: path + ".damaged"))
        #expect(try file.load() == .absent)
    }

    @Test("the file is nobody else's to read")
    func mode() throws {
        let folder = ScratchFolder()
        try CheckedFile(path: folder.path + "/file").save([1])
        let attributes = try FileManager.default.attributesOfItem(atPath: folder.path + "/file")
        #expect(attributes[.posixPermissions] as? Int == 0o600)
    }

    @Test("a second holder of a folder is refused until the first lets go")
    func lock() throws {
        let folder = ScratchFolder()
        var first: FolderLock? = try FolderLock(folder: folder.path)
        #expect(throws: FolderLock.Failure.held(folder: folder.path)) { try FolderLock(folder: folder.path) }
        withExtendedLifetime(first) {}
        first = nil
        _ = try FolderLock(folder: folder.path)
    }
}
