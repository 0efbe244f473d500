import ChunkPlane
import Foundation
import Logging
import ManagerImageHeaders
import ProtocolModel
import ProtocolTransfer
import Testing

@testable import ManagerImages

@Suite struct ImageStoreTests {
    private let folder = NSTemporaryDirectory() + "roost-images-\(UUID().uuidString)"
    private let image = ImageID.generate(at: Timestamp(milliseconds: 1))

    private func store(maximumImageBytes: Int64 = 1 << 40) throws -> ImageStore {
        try ImageStore(folder: folder, logger: Logger(label: "test"), maximumImageBytes: maximumImageBytes)
    }

    private func upload(_ bytes: [UInt8], to store: ImageStore) async throws -> UploadSummary {
        let handle = try store.beginUpload(image)
        for start in stride(from: 0, to: bytes.count, by: 300_000) {
            try await handle.append(Array(bytes[start..<min(start + 300_000, bytes.count)]))
        }
        return try await handle.finish()
    }

    private func files() -> [String] {
        (FileManager.default.enumerator(atPath: folder)?.compactMap { $0 as? String } ?? []).sorted()
    }

    /// A disk with random data, text and zeros, with a boot record, not a whole number of chunks.
    private func disk() throws -> [UInt8] {
        let random = try #require(FileHandle(forReadingAtPath: "/dev/urandom"))
        let noise = try #require(try random.read(upToCount: Limits.smallestChunkBytes))
        var data = Data(count: 4 * Limits.smallestChunkBytes + 1_536)
        data.replaceSubrange(0..<Limits.smallestChunkBytes, with: noise)
        let line = Data("the quick brown fox jumps over the lazy dog, and again and again and again: 0123456789\n".utf8)
        var text = line
        while text.count < Limits.smallestChunkBytes { text += text }
        data.replaceSubrange(
            2 * Limits.smallestChunkBytes..<3 * Limits.smallestChunkBytes, with: text.prefix(Limits.smallestChunkBytes))
        data[510] = 0x55
        data[511] = 0xAA
        data[data.count - 1] = 1
        return Array(data)
    }

    private func assemble(_ store: ImageStore) throws -> [UInt8] {
        guard case .manifest(let serialised) = store.manifest(of: image) else {
            Issue.record("no manifest")
            return []
        }
        let manifest = try Manifest(serialised: serialised)
        var bytes: [UInt8] = []
        for index in 0..<manifest.chunkCount {
            if manifest.isZero(index) {
                bytes += [UInt8](repeating: 0, count: manifest.chunkSize(index))
                continue
            }
            guard case .chunk(let chunk) = store.chunk(index, of: image, manifest: manifest.digest, waitingUpTo: .zero),
                let data = chunk.decoded(byteCount: manifest.chunkSize(index))
            else {
                Issue.record("chunk \(index) is missing")
                continue
            }
            #expect(manifest.verifies(data, index: index))
            bytes += data
        }
        return bytes
    }

    @Test func importsARawDisk() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let bytes = try disk()
        let store = try store()
        let summary = try await upload(bytes, to: store)
        #expect(summary.byteCount == Int64(bytes.count))
        #expect(summary.sha256 == Manifest.digest(of: bytes))
        let mode = try FileManager.default.attributesOfItem(atPath: "\(folder)/staging/\(image).upload")[
            .posixPermissions]
        #expect(mode as? Int == 0o600)
        let imported = try await store.importInspected(image, nil)
        #expect(imported.format == .raw)
        #expect(imported.chunkCount == 5)
        #expect(imported.virtualSize == Int64(bytes.count))
        // One random chunk raw, the text compressed, two zero chunks elided.
        #expect(imported.storedBytes > Int64(Limits.smallestChunkBytes))
        #expect(imported.storedBytes < Int64(Limits.smallestChunkBytes) * 3 / 2)
        #expect(try assemble(store) == bytes)
        #expect(
            files() == ["\(image)", "\(image)/chunks.index", "\(image)/chunks.pack", "\(image)/manifest", "staging"])
        // Another life of the manager finds it.
        let again = try self.store()
        again.recover(keeping: [image])
        #expect(again.manifestDigest(of: image) == imported.manifestDigest)
        again.recover(keeping: [])
        #expect(files() == ["staging"])
    }

    @Test(arguments: [
        ("qcow2", "compat=0.10", ImageFormat.qcow2), ("qcow2", "compat=1.1", .qcow2),
        ("qcow2", "cluster_size=2097152", .qcow2), ("qcow2", "extended_l2=on", .qcow2),
        ("vmdk", "subformat=monolithicSparse", .vmdk), ("vmdk", "subformat=streamOptimized", .vmdk),
        ("vpc", "subformat=dynamic,force_size=on", .vhd), ("vpc", "subformat=fixed,force_size=on", .vhd),
        ("vdi", "static=off", .vdi), ("vdi", "static=on", .vdi),
    ])
    func convertsWhatRealToolsWrite(name: String, options: String, format: ImageFormat) async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try store()
        let bytes = try disk()
        let raw = folder + "/source.raw"
        let converted = folder + "/source." + name
        try Data(bytes).write(to: URL(fileURLWithPath: raw))
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Converter.program)
        process.arguments = ["convert", "-f", "raw", "-O", name, "-o", options, raw, converted]
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
        _ = try await upload(Array(try Data(contentsOf: URL(fileURLWithPath: converted))), to: store)
        let (steps, sink) = AsyncStream<ImportProgress>.makeStream()
        let imported = try await store.importInspected(image, format) { sink.yield($0) }
        sink.finish()
        let conversion = await steps.filter { $0.phase == .converting }.map(\.percent).reduce(into: []) {
            $0.append($1)
        }
        #expect(conversion.first == 0 && conversion.last == 50 && conversion == conversion.sorted())
        #expect(imported.format == format)
        var found = try assemble(store)
        // Some formats round the size up.
        #expect(found.count >= bytes.count && found.count < bytes.count + (2 << 20))
        found.removeSubrange(min(bytes.count, found.count)...)
        #expect(found == bytes)
        #expect(!files().contains { $0.hasPrefix("staging/") })
    }

    @Test(
        "progress as qemu-img tells it",
        arguments: [
            ("    (0.00/100%)\r", 0), ("    (12.53/100%)\r    (13.78/100%)\r", 13), ("    (100.00/100%)\r\n", 100),
            ("    (99.9", nil), ("(1e9/100%)", nil), ("/100%)", nil), ("", nil),
        ] as [(String, Int?)])
    func converterProgress(words: String, percent: Int?) { #expect(Converter.percent(in: words) == percent) }

    /// SEC-01: refused before conversion, and nothing is left on disk.
    @Test(
        "SEC-01 nothing is left of a hostile image",
        arguments: [
            "qcow2 with backing file", "qcow2 claiming 2^60 clusters",
            "qcow2 with data file name", "VMDK naming /etc/shadow as flat extent",
        ])
    func leavesNothing(name: String) async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let hostile = try #require(HostileImage.corpus.first { $0.name == name })
        let store = try store()
        _ = try await upload(hostile.file.bytes, to: store)
        do {
            _ = try await store.importInspected(image, hostile.declared)
            Issue.record("accepted")
        } catch {
            guard case .refused(let refusal)? = error as? ImageError else { throw error }
            #expect(refusal.code == hostile.code)
        }
        #expect(files() == ["staging"])
    }

    /// A header that passes inspection but whose tables are garbage: the converter fails, and nothing is left.
    @Test func leavesNothingWhenConversionFails() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try store()
        let file = ImageFile.qcow2 { file in
            for offset in stride(from: 65_536, to: 131_072, by: 8) { file.big64(.max, at: offset) }
        }
        _ = try await upload(file.bytes, to: store)
        await #expect { try await store.importInspected(image, nil) } throws: {
            ($0 as? ImageError)?.code == "image_conversion_failed"
        }
        #expect(files() == ["staging"])
    }

    @Test func limitsUploads() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try store(maximumImageBytes: 1_000_000)
        let handle = try store.beginUpload(image)
        #expect(throws: ImageError.uploadExists("\(image)")) { try store.beginUpload(image) }
        await #expect(throws: ImageError.uploadTooLarge(limitBytes: 1_000_000)) {
            try await handle.append([UInt8](repeating: 0, count: 1_000_001))
        }
        #expect(files() == ["staging"])
        await #expect(throws: ImageError.uploadClosed) { try await handle.append([1]) }
        let second = try store.beginUpload(image)
        try await second.append([1, 2, 3])
        await second.cancel()
        #expect(files() == ["staging"])
        await #expect(throws: ImageError.noUpload("\(image)")) {
            try await store.importInspected(image, nil)
        }
        // A virtual size above the site's limit, in a small file.
        let big = try self.store(maximumImageBytes: 300_000)
        _ = try await upload(ImageFile.qcow2().bytes, to: big)
        await #expect(throws: ImageError.uploadTooLarge(limitBytes: 300_000)) {
            try await big.importInspected(image, nil)
        }
        #expect(files() == ["staging"])
    }

    @Test func recoversFromACrash() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try store()
        let handle = try store.beginUpload(image)
        try await handle.append([1, 2, 3])
        try FileManager.default.createDirectory(atPath: "\(folder)/staging/x.image", withIntermediateDirectories: true)
        let next = try self.store()
        next.recover(keeping: [])
        #expect(files() == ["staging"])
        _ = handle
    }

    @Test("an import whose end was not recorded is done again after a restart, with the same outcome")
    func resumes() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try store()
        _ = try await upload(try disk(), to: store)
        let first = try await store.importUpload(image, try await store.inspectUpload(image, declaredFormat: nil))
        // The process ended here: published, and not recorded.
        let next = try self.store()
        #expect(next.recover(keeping: [], accepted: [image, ImageID.generate(at: SystemTime().timestamp)]) == [image])
        #expect(next.manifestDigest(of: image) == nil, "what is not recorded is not served")
        let again = try await next.importInspected(image, nil)
        #expect(again == first)
        #expect(next.recover(keeping: [image], accepted: [image]).isEmpty, "recorded, and its upload gone")
    }

    /// SEC-03: one vector of arguments, the format forced, limits set; nothing in it comes from a user.
    @Test("SEC-03 the converter's argument vector") func commandLine() {
        let path = folder + "/staging/\(image)"
        let converter = Converter(
            format: "qcow2", source: path + ".upload", target: path + ".raw", virtualSize: 1 << 20)
        let command = converter.commandLine(isolated: true)
        #expect(command.prefix(3) == ["/usr/bin/unshare", "--net", "--"])
        #expect(command.suffix(2) == [path + ".upload", path + ".raw"])
        #expect(command.contains("--fsize=\((1 << 20) + (64 << 20))"))
        let format = command.firstIndex(of: "-f").map { command[$0 + 1] }
        #expect(format == "qcow2")
        #expect(!converter.commandLine(isolated: false).contains("--net"))
    }

    @Test func indexRefusesWhatDoesNotFit() throws {
        let digest = Manifest.digest(of: [1])
        let manifest = try Manifest(image: image, sizeBytes: 512, chunkDigests: digest.bytes)
        var index = PackIndex(count: 1)
        index.entries[0] = PackedChunk(offset: 0, length: 512, encoding: .raw)
        #expect(PackIndex(index.serialised, manifest: manifest, packBytes: 512)?.entries == index.entries)
        #expect(PackIndex(index.serialised, manifest: manifest, packBytes: 511) == nil)
        #expect(PackIndex(Array(index.serialised.dropLast()), manifest: manifest, packBytes: 512) == nil)
        index.entries[0].length = 513
        #expect(PackIndex(index.serialised, manifest: manifest, packBytes: 1024) == nil)
        index.entries[0].length = 0
        #expect(PackIndex(index.serialised, manifest: manifest, packBytes: 1024) == nil)
    }
}

extension ImageStore {
    /// As an upload's end does it.
    fileprivate func importInspected(
        _ image: ImageID, _ declared: ImageFormat?, progress: @escaping @Sendable (ImportProgress) -> Void = { _ in }
    ) async throws -> ImportedImage {
        let imported = try await importUpload(
            image, try await inspectUpload(image, declaredFormat: declared), progress: progress)
        discardUpload(image)
        return imported
    }
}
