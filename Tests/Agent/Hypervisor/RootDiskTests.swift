import Foundation
import Glibc
import ProtocolModel
import Testing
import TestsSupportStore

@testable import AgentHypervisor

@Suite("Root disks that are copies, and what disks depend on", .serialized)
struct RootDiskTests {
    private let instance = InstanceID.generate(at: SystemTime().timestamp)
    private let size = 16 << 20

    private func base(in folder: String) throws -> String {
        let path = folder + "/base.raw"
        // Noise, which no file system makes smaller.
        let random = try #require(FileHandle(forReadingAtPath: "/dev/urandom"))
        let noise = try #require(try random.read(upToCount: size))
        try noise.write(to: URL(filePath: path))
        let file = open(path, O_RDONLY)
        fsync(file)
        close(file)
        return path
    }

    private func free(_ folder: String) -> Int64 {
        sync()
        var figures = statvfs()
        return statvfs(folder, &figures) == 0 ? Int64(figures.f_bavail) * Int64(figures.f_frsize) : 0
    }

    @Test(
        "a copy shares its image's blocks, is as long as asked, closed to others, and lives without the image",
        arguments: [
            ("xfs", 320), ("btrfs", 128),
        ])
    func copies(kind: String, mebibytes: Int) async throws {
        let disk = try SmallDisk(mebibytes: mebibytes, as: kind)
        let base = try base(in: disk.folder)
        let content = try #require(FileManager.default.contents(atPath: base))
        let folder = InstanceFolder(instance, in: disk.folder)
        let before = free(disk.folder)
        try Reflink.prove(from: disk.folder, to: InstanceFolder.root(in: disk.folder))
        try await folder.createDisk(base: base, sizeBytes: UInt64(2 * size) - 1, as: .reflink)
        #expect(before - free(disk.folder) < Int64(size / 2), "the blocks are shared")
        let made = try #require(folder.existingDisk)
        #expect(made.format == .raw && made.path.hasSuffix("/disk.raw"))
        #expect(InstanceFolder.all(in: disk.folder) == [instance])
        var status = stat()
        #expect(stat(made.path, &status) == 0 && status.st_mode & 0o777 == 0o600 && status.st_size == off_t(2 * size))
        #expect(try DiskDependencies.read(in: disk.folder) == DiskDependencies(bases: [], independent: [instance]))
        try FileManager.default.removeItem(atPath: base)
        let kept = try #require(FileManager.default.contents(atPath: made.path))
        #expect(kept.prefix(size) == content && kept.dropFirst(size).allSatisfy { $0 == 0 })
        // Made once: neither again nor as an overlay beside it, and without its image there is nothing to make.
        try await folder.createDisk(base: nil, sizeBytes: UInt64(size), as: .reflink)
        try await folder.createDisk(base: nil, sizeBytes: UInt64(size), as: .overlay)
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: disk.folder + "/instances/\(instance)") == ["disk.raw"])
        try folder.remove()
        #expect(InstanceFolder.all(in: disk.folder).isEmpty)
    }

    @Test("where the file system cannot, it says so and what to do, and leaves nothing")
    func unsupported() async throws {
        let disk = try SmallDisk(mebibytes: 64)
        let base = try base(in: disk.folder)
        let folder = InstanceFolder(instance, in: disk.folder)
        let problem = await #expect(throws: Reflink.Unsupported.self) {
            try await folder.createDisk(base: base, sizeBytes: UInt64(size), as: .reflink)
        }
        #expect(problem?.description.contains("set images.root_disk to overlay") == true)
        #expect(try FileManager.default.contentsOfDirectory(atPath: disk.folder + "/instances/\(instance)").isEmpty)
        #expect(throws: Reflink.Unsupported.self) {
            try Reflink.prove(from: disk.folder, to: InstanceFolder.root(in: disk.folder))
        }
    }

    @Test("an overlay names its image; a disk that cannot be read says that nobody knows")
    func dependencies() async throws {
        let data = NSTemporaryDirectory() + "roost-disks-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: data, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: data) }
        #expect(try DiskDependencies.read(in: data) == DiskDependencies())
        let base = data + "/base.raw"
        try Data(repeating: 7, count: 1 << 20).write(to: URL(filePath: base))
        let folder = InstanceFolder(instance, in: data)
        try await folder.createDisk(base: base, sizeBytes: 4 << 20)
        #expect(try DiskDependencies.read(in: data) == DiskDependencies(bases: [base], independent: []))
        // One that stands by itself.
        try FileManager.default.removeItem(atPath: folder.diskPath)
        try await HostProgram.run("qemu-img", ["create", "-q", "-f", "qcow2", folder.diskPath, "1M"])
        #expect(try DiskDependencies.read(in: data) == DiskDependencies(bases: [], independent: [instance]))
        let whole = try #require(FileManager.default.contents(atPath: folder.diskPath))
        for (offset, bytes) in [
            (0, [0x52]), (4, [0, 0, 0, 9]), (8, [0xFF, 0, 0, 0, 0, 0, 0, 1]), (8, [0, 0, 0, 0, 0, 0, 1, 0]),
        ]
            as [(Int, [UInt8])]
        {
            var broken = whole
            broken.replaceSubrange(offset..<offset + bytes.count, with: bytes)
            try broken.write(to: URL(filePath: folder.diskPath))
            #expect(throws: InstanceFolder.Failure.self) { try DiskDependencies.read(in: data) }
        }
        try Data().write(to: URL(filePath: folder.diskPath))
        #expect(throws: InstanceFolder.Failure.self) { try DiskDependencies.read(in: data) }
    }
}
