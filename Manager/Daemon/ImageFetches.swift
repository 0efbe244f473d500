import Foundation
import Logging
import ManagerImageSources
import ManagerImages
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel
import ServiceLifecycle
import Synchronization

/// Fetches the files of images that were created with an address (IMG-02). What to fetch, and how far it has come, stands in
/// the record and on the disk, so that it goes on after a restart.
struct ImageFetches: Service {
    private static let parallel = 2

    let own: ManagerID
    let images: ImageStore
    let imports: ImageImports
    let fetcher: ImageFetcher
    let store: Store
    let time: any TimeSource
    let logger: Logger
    private let running = Running()
    private let wakes = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))

    private final class Running: Sendable {
        let images = Mutex<Set<ImageID>>([])
    }

    init(
        own: ManagerID, images: ImageStore, imports: ImageImports, fetcher: ImageFetcher, store: Store,
        time: any TimeSource, logger: Logger
    ) {
        self.own = own
        self.images = images
        self.imports = imports
        self.fetcher = fetcher
        self.store = store
        self.time = time
        self.logger = logger
        let wake = wakes.continuation
        imports.onFetch.withLock { $0 = { wake.yield() } }
    }

    func run() async throws {
        wakes.continuation.yield()
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { group in
                for await _ in wakes.stream {
                    while let image = await next() {
                        group.addTask {
                            await fetch(image)
                            running.images.withLock { _ = $0.remove(image.id) }
                            // Another may have waited for the place.
                            wakes.continuation.yield()
                        }
                    }
                }
                group.cancelAll()
            }
        }
    }

    /// One that is to be fetched and is not yet, where there is room.
    private func next() async -> Image? {
        let busy = running.images.withLock { $0 }
        guard busy.count < Self.parallel, !Task.isCancelled else { return nil }
        let own = own
        let image = try? await store.read { sql in
            try sql.images.list(status: .saving).first {
                try !busy.contains($0.id) && sql.images.source(of: $0.id) != nil
                    && sql.managers.holder(of: $0.id) == own
            }
        }
        guard let image else { return nil }
        running.images.withLock { _ = $0.insert(image.id) }
        return image
    }

    private func fetch(_ image: Image) async {
        do {
            guard let source = try await store.read({ try $0.images.source(of: image.id) }) else { return }
            let address = try ImageAddress(source.address)
            let sink = FetchedFile(
                writer: try await writer(of: image), image: image, imports: imports, time: time)
            logger.info("fetching an image", metadata: ["image.id": "\(image.id)", "host": "\(address.host)"])
            try await fetcher.fetch(address, entityTag: source.entityTag, into: sink)
            try await imports.accept(image, try await sink.writer.finish())
        } catch {
            // A stop leaves all as it is.
            guard !Task.isCancelled else { return }
            logger.notice(
                "an image could not be fetched", metadata: ["image.id": "\(image.id)", "reason": "\(error)"])
            await imports.fail(image.id, error)
        }
    }

    private func writer(of image: Image) async throws -> UploadWriter {
        if let begun = try await images.upload(image.id) { return try await begun.attach(at: begun.byteCount) }
        return try await images.beginUpload(image.id, expectedBytes: image.expectedBytes)
    }
}

/// A file of the store into which an image is fetched.
private actor FetchedFile: FetchSink {
    private static let interval = Duration.seconds(2)

    nonisolated let writer: UploadWriter
    private let image: Image
    private let imports: ImageImports
    private let time: any TimeSource
    private var expectedBytes: Int64?
    private var toldAt: Uptime

    init(writer: UploadWriter, image: Image, imports: ImageImports, time: any TimeSource) {
        self.writer = writer
        self.image = image
        self.imports = imports
        self.time = time
        toldAt = time.uptime
    }

    var byteCount: Int64 { get async { await writer.handle.byteCount } }

    func restart() async throws { try await writer.restart() }

    func append(_ bytes: [UInt8]) async throws {
        try await writer.append(bytes)
        guard time.uptime - toldAt >= Self.interval else { return }
        toldAt = time.uptime
        try await note()
    }

    func learn(entityTag: String?, expectedBytes: Int64?) async throws {
        self.expectedBytes = expectedBytes ?? image.expectedBytes
        if let announced = image.expectedBytes, let expectedBytes, announced != expectedBytes {
            throw FetchError.otherSize(announced: announced, found: expectedBytes)
        }
        if let expectedBytes { try await writer.handle.checkRoom(for: expectedBytes) }
        let id = image.id
        try await imports.record { commands in try commands.noteEntityTag(id, entityTag) }
        try await note()
    }

    private func note() async throws {
        let (id, expected, bytes) = (image.id, expectedBytes, await byteCount)
        try await imports.record { commands in try commands.noteArrival(id, bytes: bytes, of: expected) }
    }
}
