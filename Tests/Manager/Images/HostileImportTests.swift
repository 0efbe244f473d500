import ChunkPlane
import Foundation
import Glibc
import Logging
import ManagerImageHeaders
import ProtocolModel
import Testing
import TestsSupportStore

@testable import ManagerImages

/// The whole way of an image that is hostile or broken: it arrives, is looked at, converted where it gets so far, and
/// refused; afterwards nothing of it is on the disk.
@Suite struct HostileImportTests {
    private let folder = NSTemporaryDirectory() + "roost-hostile-\(UUID().uuidString)"
    private let image = ImageID.generate(at: Timestamp(milliseconds: 1))

    private func store(in folder: String? = nil, maximumImageBytes: Int64 = 1 << 40) throws -> ImageStore {
        try ImageStore(
            folder: folder ?? self.folder, logger: Logger(label: "test"), maximumImageBytes: maximumImageBytes)
    }

    private func files(_ folder: String? = nil) -> [String] {
        (FileManager.default.enumerator(atPath: folder ?? self.folder)?.compactMap { $0 as? String } ?? []).sorted()
    }

    /// The code of the refusal; `nil` where the image was taken.
    private func refusal(_ bytes: [UInt8], _ declared: ImageFormat?, by store: ImageStore) async throws -> ImageError? {
        let writer = try await store.beginUpload(image)
        do {
            try await writer.append(bytes)
            _ = try await writer.finish()
            _ = try await store.importInspected(image, declared)
            return nil
        } catch let error as ImageError {
            return error
        }
    }

    @Test("SEC-01 SEC-05 nothing is left of a hostile image", arguments: HostileImage.corpus)
    func leavesNothing(_ hostile: HostileImage) async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let error = try await refusal(hostile.file.bytes, hostile.declared, by: try store())
        #expect(error?.code == hostile.code.rawValue, "\(error?.sentence ?? "taken")")
        #expect(files() == ["staging"])
    }

    /// Their headers are in order; what lies behind is not, and the converter says so.
    @Test("SEC-01 broken behind the header", arguments: BrokenImage.all)
    func failsInConversion(_ broken: BrokenImage) async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let error = try await refusal(broken.file.bytes, nil, by: try store())
        #expect(error?.code == "image_conversion_failed", "\(error?.sentence ?? "taken")")
        #expect((error?.sentence.count ?? 0) > 20)
        #expect(files() == ["staging"])
    }

    struct BrokenImage: CustomTestStringConvertible, Sendable {
        var testDescription: String
        var file: ImageFile

        static let all = [
            BrokenImage(
                testDescription: "qcow2 with crooked clusters",
                file: .qcow2 { file in
                    file.big64(3 * 65_536 | 1 << 63, at: 65_536)
                    file.big64(65_536 + 512 | 1 << 63, at: 3 * 65_536)
                }),
            BrokenImage(
                testDescription: "qcow2 with compressed clusters of noise",
                file: .qcow2 { file in
                    file.big64(3 * 65_536 | 1 << 63, at: 65_536)
                    file.big64(1 << 62 | 0xF0 << 54 | 100, at: 3 * 65_536)
                }),
            BrokenImage(
                testDescription: "qcow2 with snapshots whose names overflow",
                file: .qcow2 { file in
                    file.big32(2, at: 60)
                    file.big64(3 * 65_536, at: 64)
                    for entry in 0..<100 { file.big32(.max, at: 3 * 65_536 + 4 * entry) }
                }),
        ]
    }

    /// Programs read zeros where a file that was cut ends. Wherever a real image is cut, that is noticed.
    @Test(
        "a file that was cut anywhere is refused",
        arguments: [
            ("qcow2", "compat=0.10", false), ("qcow2", "compat=1.1", false), ("qcow2", "compression_type=zstd", true),
            ("qcow2", "cluster_size=2097152", false), ("qcow2", "extended_l2=on", false),
            ("vmdk", "subformat=monolithicSparse", false), ("vmdk", "subformat=streamOptimized", false),
            ("vpc", "subformat=dynamic", false), ("vpc", "subformat=fixed", false), ("vdi", "static=off", false),
        ])
    func cut(name: String, options: String, compressed: Bool) async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try store()
        let (raw, made) = (folder + "/raw", folder + "/made")
        let noise = try #require(try FileHandle(forReadingAtPath: "/dev/urandom")?.read(upToCount: 12 << 20))
        try noise.write(to: URL(fileURLWithPath: raw))
        try ImageStoreTests.image(
            ["convert", "-f", "raw", "-O", name, "-o", options] + (compressed ? ["-c"] : []) + [raw, made])
        let whole = Array(try Data(contentsOf: URL(fileURLWithPath: made)))
        for file in [raw, made] { unlink(file) }
        for percent in [10, 50, 80] {
            let cut = Array(whole.prefix(whole.count * percent / 100))
            let error = try await refusal(cut, nil, by: store)
            let codes = ["image_truncated", "image_format_unknown", "image_malformed", "image_conversion_failed"]
            #expect(codes.contains(error?.code ?? "taken"), "\(percent) %: \(error?.sentence ?? "taken")")
            #expect(files() == ["staging"])
        }
        #expect(try await refusal(whole, nil, by: store) == nil)
    }

    @Test("an image in whose tables more is laid out than was ever written is no cut one")
    func laidOut() async throws {
        for options in ["preallocation=metadata", "preallocation=falloc", "preallocation=off,extended_l2=on"] {
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let store = try store()
            let made = folder + "/made"
            try ImageStoreTests.image(["create", "-q", "-f", "qcow2", "-o", options, made, "64M"])
            let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: made)))
            unlink(made)
            #expect(try await refusal(bytes, nil, by: store) == nil, "\(options)")
        }
    }

    /// A few kilobytes whose every cluster is the same compressed one.
    private func bomb(virtualBytes: Int) throws -> ImageFile {
        let (raw, made) = (NSTemporaryDirectory() + "bomb-\(UUID()).raw", NSTemporaryDirectory() + "bomb-\(UUID())")
        defer { for path in [raw, made] { unlink(path) } }
        try Data(repeating: 0x41, count: 65_536).write(to: URL(fileURLWithPath: raw))
        try ImageStoreTests.image(["convert", "-f", "raw", "-O", "qcow2", "-c", raw, made])
        var file = ImageFile(count: 0)
        file.bytes = Array(try Data(contentsOf: URL(fileURLWithPath: made)))
        let header = HeaderBytes(bytes: file.bytes)
        let firstLevel = Int(header.big64(40))
        let secondLevel = Int(header.big64(firstLevel) & 0x00FF_FFFF_FFFF_FE00)
        let cluster = header.big64(secondLevel)
        try #require(cluster & 1 << 62 != 0 && virtualBytes <= 1 << 29)
        file.bytes += [UInt8](repeating: 0, count: max(0, secondLevel + 65_536 - file.bytes.count))
        for entry in 0..<virtualBytes / 65_536 { file.big64(cluster, at: secondLevel + 8 * entry) }
        file.big64(UInt64(virtualBytes), at: 24)
        return file
    }

    @Test("a decompression bomb ends where the disk would fill, and leaves nothing")
    func bombOnASmallDisk() async throws {
        try #require(geteuid() == 0, "mounting a disk needs root")
        let disk = try SmallDisk(mebibytes: 96)
        let store = try store(in: disk.folder + "/images")
        let bomb = try bomb(virtualBytes: 512 << 20)
        #expect(bomb.bytes.count < 1 << 20)
        let error = try await refusal(bomb.bytes, nil, by: store)
        #expect(error?.code == "image_store_full", "\(error?.sentence ?? "taken")")
        #expect(files(disk.folder + "/images") == ["staging"])
        // What fits is taken afterwards.
        #expect(try await refusal(try self.bomb(virtualBytes: 8 << 20).bytes, nil, by: store) == nil)
    }

    @Test("a bomb that claims more than the site takes is refused by its header")
    func bombAboveTheLimit() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try store(maximumImageBytes: 64 << 20)
        let error = try await refusal(try bomb(virtualBytes: 128 << 20).bytes, nil, by: store)
        #expect(error == .uploadTooLarge(limitBytes: 64 << 20))
        #expect(files() == ["staging"])
    }

    @Test(
        "a disk that fills while a file arrives is said to be full; while it is packed, the image is there all the same"
    )
    func fullDisk() async throws {
        try #require(geteuid() == 0, "mounting a disk needs root")
        let disk = try SmallDisk(mebibytes: 96)
        let place = disk.folder + "/images"
        let store = try store(in: place)
        // One that is announced as too large is refused before a byte of it is taken.
        await #expect(throws: ImageError.diskFull(path: "\(place)/staging/\(image).upload")) {
            try await store.beginUpload(image, expectedBytes: 200 << 20)
        }
        #expect(files(place) == ["staging"])
        let noise = try #require(
            try FileHandle(forReadingAtPath: "/dev/urandom")?.read(upToCount: 8 << 20).map { Array($0) })
        let writer = try await store.beginUpload(image)
        var failure: ImageError?
        for _ in 0..<24 where failure == nil {
            do throws(ImageError) { try await writer.append(noise) } catch { failure = error }
        }
        #expect(failure?.code == "image_store_full")
        #expect(files(place) == ["staging"])
        // The file system counts what was removed as free once it is committed.
        sync()
        // Raw noise of more than half the disk arrives, and its chunks do not fit beside it.
        let second = try await store.beginUpload(image)
        for _ in 0..<7 { try await second.append(noise) }
        _ = try await second.finish()
        let imported = try await store.registerInspected(image, .raw)
        await #expect { try await store.pack(image) } throws: { ($0 as? ImageError)?.code == "image_store_full" }
        // What cannot be kept can still be sent.
        #expect(store.unpackedImages == [image])
        for index in 0..<imported.chunkCount {
            guard
                case .chunk(let chunk) = store.chunk(
                    index, of: image, manifest: imported.manifestDigest, waitingUpTo: .seconds(60))
            else {
                Issue.record("chunk \(index) is missing")
                continue
            }
            let start = index * Limits.smallestChunkBytes % noise.count
            #expect(chunk.bytes.elementsEqual(noise[start..<start + Limits.smallestChunkBytes]))
        }
        store.discardUpload(image)
        store.remove(image)
        #expect(files(place) == ["staging"])
    }

    /// SEC-02: a guest writes the header of another format into its raw disk. The format that was declared is not
    /// believed, and the file is never opened as the other one either.
    @Test("SEC-02 raw declared, another format found", arguments: [ImageFile.qcow2(), .vmdk(), .vhd(), .vdi()])
    func guessedFormat(_ file: ImageFile) async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let error = try await refusal(file.bytes, .raw, by: try store())
        #expect(error?.code == "image_format_mismatch")
        #expect(files() == ["staging"])
    }

    @Test("a huge file of nothing is taken as it is: holes cost nothing")
    func hugeAndSparse() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try store()
        let made = folder + "/huge"
        try ImageStoreTests.image(["create", "-q", "-f", "qcow2", made, "1T"])
        let writer = try await store.beginUpload(image)
        try await writer.append(Array(try Data(contentsOf: URL(fileURLWithPath: made))))
        _ = try await writer.finish()
        let (imported, storedBytes) = try await store.importInspected(image, nil)
        #expect(imported.virtualSize == 1 << 40 && storedBytes == 0)
    }
}
