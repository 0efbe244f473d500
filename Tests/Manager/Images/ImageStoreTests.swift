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
        let handle = try await store.beginUpload(image)
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
        let (imported, storedBytes) = try await store.importInspected(image, nil)
        #expect(imported.format == .raw)
        #expect(imported.chunkCount == 5)
        #expect(imported.virtualSize == Int64(bytes.count))
        // One random chunk raw, the text compressed, two zero chunks elided.
        #expect(storedBytes > Int64(Limits.smallestChunkBytes))
        #expect(storedBytes < Int64(Limits.smallestChunkBytes) * 3 / 2)
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

    /// What the chunks hold has the SHA-256 of what `qemu-img convert` itself makes of the file.
    @Test(arguments: [
        SourceFile("qcow2", "compat=0.10", .qcow2), SourceFile("qcow2", "compat=1.1", .qcow2),
        SourceFile("qcow2", "cluster_size=65536", .qcow2, compressed: true),
        SourceFile("qcow2", "compat=0.10,cluster_size=65536", .qcow2, compressed: true),
        SourceFile("qcow2", "compression_type=zstd", .qcow2, compressed: true),
        SourceFile("qcow2", "cluster_size=2097152", .qcow2),
        SourceFile("qcow2", "cluster_size=2097152,compression_type=zstd", .qcow2, compressed: true),
        SourceFile("qcow2", "cluster_size=512", .qcow2), SourceFile("qcow2", "extended_l2=on", .qcow2),
        SourceFile("qcow2", "refcount_bits=1,lazy_refcounts=off", .qcow2),
        SourceFile("vmdk", "subformat=monolithicSparse", .vmdk),
        SourceFile("vmdk", "subformat=streamOptimized", .vmdk),
        SourceFile("vpc", "subformat=dynamic,force_size=on", .vhd), SourceFile("vpc", "subformat=dynamic", .vhd),
        SourceFile("vpc", "subformat=fixed,force_size=on", .vhd), SourceFile("vpc", "subformat=fixed", .vhd),
        SourceFile("vdi", "static=off", .vdi), SourceFile("vdi", "static=on", .vdi),
    ])
    func convertsWhatRealToolsWrite(_ source: SourceFile) async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try store()
        let bytes = try disk()
        let (raw, converted, own) = (folder + "/source.raw", folder + "/source", folder + "/own.raw")
        try Data(bytes).write(to: URL(fileURLWithPath: raw))
        try Self.image(source.arguments + [raw, converted])
        try Self.image(["convert", "-f", source.name, "-O", "raw", converted, own])
        _ = try await upload(Array(try Data(contentsOf: URL(fileURLWithPath: converted))), to: store)
        let (steps, sink) = AsyncStream<ImportProgress>.makeStream()
        let (imported, _) = try await store.importInspected(image, source.format) { sink.yield($0) }
        sink.finish()
        let percents = await steps.map(\.percent).reduce(into: []) { $0.append($1) }
        #expect(percents.first == 0 && percents.last == 100 && percents == percents.sorted())
        #expect(imported.format == source.format)
        let found = try assemble(store)
        let expected = Array(try Data(contentsOf: URL(fileURLWithPath: own)))
        #expect(found.count == expected.count)
        #expect(Manifest.digest(of: found) == Manifest.digest(of: expected))
        // Some formats round the size up.
        #expect(found.count >= bytes.count && found.count < bytes.count + (2 << 20))
        #expect(found.prefix(bytes.count).elementsEqual(bytes))
        #expect(!files().contains { $0.hasPrefix("staging/") })
    }

    /// An image as a tool writes it.
    struct SourceFile: CustomTestStringConvertible, Sendable {
        var name: String
        var options: String
        var format: ImageFormat
        var compressed: Bool

        init(_ name: String, _ options: String, _ format: ImageFormat, compressed: Bool = false) {
            (self.name, self.options, self.format, self.compressed) = (name, options, format, compressed)
        }

        var testDescription: String { "\(name) \(options)\(compressed ? " compressed" : "")" }
        var arguments: [String] {
            ["convert", "-f", "raw", "-O", name, "-o", options] + (compressed ? ["-c"] : [])
        }
    }

    static func image(_ arguments: [String]) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Converter.program)
        process.arguments = arguments
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
    }

    @Test(
        "progress as qemu-img tells it",
        arguments: [
            ("    (0.00/100%)\r", 0), ("    (12.53/100%)\r    (13.78/100%)\r", 13), ("    (100.00/100%)\r\n", 100),
            ("    (99.9", nil), ("(1e9/100%)", nil), ("/100%)", nil), ("", nil),
        ] as [(String, Int?)])
    func converterProgress(words: String, percent: Int?) { #expect(Converter.percent(in: words) == percent) }

    @Test func limitsUploads() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try store(maximumImageBytes: 1_000_000)
        let handle = try await store.beginUpload(image)
        await #expect(throws: ImageError.uploadTooLarge(limitBytes: 1_000_000)) {
            try await handle.append([UInt8](repeating: 0, count: 1_000_001))
        }
        #expect(files() == ["staging"])
        await #expect(throws: ImageError.uploadClosed) { try await handle.append([1]) }
        let second = try await store.beginUpload(image)
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

    @Test("an import whose end was not recorded is done again after a restart, with the same outcome")
    func resumes() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try store()
        _ = try await upload(try disk(), to: store)
        let first = try await store.registerInspected(image, nil)
        // The process ended here: published, and not recorded.
        let next = try self.store()
        #expect(
            next.recover(keeping: [], accepted: [image, ImageID.generate(at: SystemTime().timestamp)]).accepted == [
                image
            ])
        #expect(next.manifestDigest(of: image) == nil, "what is not recorded is not served")
        let (again, _) = try await next.importInspected(image, nil)
        #expect(again == first)
        #expect(next.recover(keeping: [image], accepted: [image]).accepted.isEmpty, "recorded, and its upload gone")
    }

    @Test("chunks that somebody asks for are packed first, and once")
    func servesBeforeAllIsPacked() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try store()
        let bytes = try disk()
        _ = try await upload(bytes, to: store)
        let imported = try await store.registerInspected(image, nil)
        #expect(store.unpackedImages == [image] && store.manifestDigest(of: image) == imported.manifestDigest)
        #expect(files().contains("\(image)/manifest") && !files().contains("\(image)/chunks.index"))
        #expect(try assemble(store) == bytes)
        let packed = try FileManager.default.attributesOfItem(atPath: "\(folder)/\(image)/chunks.pack")[.size] as? Int64
        #expect(try await store.pack(image) == packed)
        #expect(store.unpackedImages.isEmpty)
        store.discardUpload(image)
        #expect(try assemble(self.store()) == bytes, "another life reads it from the pack alone")
        await #expect(throws: ImageError.noUpload("\(image)")) { try await store.pack(image) }
    }

    @Test("an image that was not packed when the process ended is registered again, as the same one, and packed")
    func packsAfterARestart() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try store()
        let (raw, made) = (folder + "/source.raw", folder + "/source")
        let bytes = try disk()
        try Data(bytes).write(to: URL(fileURLWithPath: raw))
        try Self.image(["convert", "-f", "raw", "-O", "qcow2", raw, made])
        _ = try await upload(Array(try Data(contentsOf: URL(fileURLWithPath: made))), to: store)
        for path in [raw, made] { try FileManager.default.removeItem(atPath: path) }
        let imported = try await store.registerInspected(image, .qcow2)

        let next = try self.store()
        next.recover(keeping: [image])
        #expect(next.unpackedImages == [image])
        guard case .notYet = next.manifest(of: image) else {
            Issue.record("it is on its way")
            return
        }
        await #expect {
            try await next.register(
                image, try await next.inspectUpload(image, declaredFormat: .qcow2), as: Manifest.digest(of: [1]))
        } throws: { ($0 as? ImageError)?.code == "image_conversion_failed" }
        #expect(files().contains("staging/\(image).upload"), "what was acknowledged is kept")
        let again = try await next.register(
            image, try await next.inspectUpload(image, declaredFormat: .qcow2), as: imported.manifestDigest)
        #expect(again == imported)
        try await next.pack(image)
        next.discardUpload(image)
        #expect(try assemble(next) == bytes)
        #expect(
            files() == ["\(image)", "\(image)/chunks.index", "\(image)/chunks.pack", "\(image)/manifest", "staging"])
    }

    @Test("an image that is removed while it is packed leaves nothing")
    func removedBeforeItIsPacked() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try store()
        _ = try await upload(try disk(), to: store)
        _ = try await store.registerInspected(image, nil)
        async let packed = store.pack(image)
        store.discardUpload(image)
        store.remove(image)
        do { _ = try await packed } catch {}
        store.remove(image)
        #expect(store.unpackedImages.isEmpty && store.manifestDigest(of: image) == nil)
        #expect(files() == ["staging"])
    }

    /// SEC-03: one vector of arguments, the format forced, limits set; nothing in it comes from a user.
    @Test("SEC-03 the converter's argument vector") func commandLine() {
        let workplace = folder + "/staging/\(image).convert"
        let converter = Converter(format: "qcow2", folder: workplace, virtualSize: 1 << 20)
        let sandbox = ConverterSandbox(hasOwnNetwork: true, user: .init(user: 65_534, group: 65_533))
        let command = converter.commandLine(in: sandbox)
        #expect(command.prefix(4) == ["/usr/bin/env", "--chdir=\(workplace)", "/usr/bin/unshare", "--net"])
        #expect(command.suffix(2) == ["source", "raw"])
        for limit in ["--as=4294967296", "--cpu=300", "--core=0", "--nofile=64", "--fsize=\((1 << 20) + (64 << 20))"] {
            #expect(command.contains(limit))
        }
        for word in ["--reuid=65534", "--regid=65533", "--clear-groups", "--no-new-privs", "--bounding-set=-all"] {
            #expect(command.contains(word))
        }
        #expect(command.firstIndex(of: "-f").map { command[$0 + 1] } == "qcow2")
        let bare = converter.commandLine(in: .none)
        #expect(!bare.contains("--net") && !bare.contains { $0.contains("uid") } && bare.contains("--nofile=64"))
        #expect(ConverterSandbox.none.shortcoming.contains("network") && !ConverterSandbox.none.isComplete)
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
    func registerInspected(
        _ image: ImageID, _ declared: ImageFormat?, progress: @escaping @Sendable (ImportProgress) -> Void = { _ in }
    ) async throws -> ImportedImage {
        try await register(image, try await inspectUpload(image, declaredFormat: declared), progress: progress)
    }

    /// All of an import, to the end.
    func importInspected(
        _ image: ImageID, _ declared: ImageFormat?, progress: @escaping @Sendable (ImportProgress) -> Void = { _ in }
    ) async throws -> (ImportedImage, storedBytes: Int64) {
        let imported = try await registerInspected(image, declared, progress: progress)
        let storedBytes = try await pack(image)
        discardUpload(image)
        return (imported, storedBytes)
    }
}
