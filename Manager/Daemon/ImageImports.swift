import Logging
import ManagerAPI
import ManagerImageHeaders
import ManagerImageSources
import ManagerImages
import ManagerLifecycle
import ManagerModel
import ManagerStore
import NIOCore
import ProtocolModel
import ServiceLifecycle
import Synchronization

/// Takes uploads from the API into the image store and converts them, a few at a time.
final class ImageImports: ImageUploadSink, Service {
    private let own: ManagerID
    private let images: ImageStore
    private let store: Store
    private let time: any TimeSource
    private let logger: Logger
    private let jobs: AsyncStream<Job>
    private let queue: AsyncStream<Job>.Continuation
    /// Registered images whose chunks are to be packed, each once.
    private let unpacked: AsyncStream<ImageID>
    private let packQueue: AsyncStream<ImageID>.Continuation
    private let beingPacked = Mutex<Set<ImageID>>([])
    /// One import keeps both a disk and a processor busy; more at once would only make each slower.
    private static let parallel = 2

    private struct Job: Sendable {
        var image: ImageID
        var inspected: InspectedImage
    }

    init(own: ManagerID, images: ImageStore, store: Store, time: any TimeSource, logger: Logger) {
        self.own = own
        self.images = images
        self.store = store
        self.time = time
        self.logger = logger
        (jobs, queue) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(64))
        (unpacked, packQueue) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(1024))
    }

    // MARK: Uploads

    func open(_ image: Image, at offset: Int64, expectedBytes: Int64?) async throws -> any ImageUpload {
        do {
            if offset == 0 {
                return Upload(
                    writer: try await images.beginUpload(image.id, expectedBytes: expectedBytes), image: image,
                    imports: self)
            }
            guard let handle = try await images.upload(image.id) else { throw UploadMisplaced(expected: 0) }
            return Upload(writer: try await handle.attach(at: offset), image: image, imports: self)
        } catch let error as ImageError {
            if case .uploadOffset(let expected) = error { throw UploadMisplaced(expected: expected) }
            throw Self.refusal(error)
        }
    }

    func received(_ image: ImageID) async throws -> Int64? {
        do {
            return try await images.upload(image)?.byteCount
        } catch {
            throw Self.refusal(error)
        }
    }

    func discard(_ image: ImageID) async { images.discardUpload(image) }

    func fetchSoon() { onFetch.withLock { $0 }() }

    /// What is to happen when an image is to be fetched.
    let onFetch = Mutex<@Sendable () -> Void>({})

    private struct Upload: ImageUpload {
        let writer: UploadWriter
        let image: Image
        let imports: ImageImports

        func append(_ bytes: ByteBuffer) async throws {
            do {
                try await writer.append(Array(bytes.readableBytesView))
            } catch {
                throw ImageImports.refusal(error)
            }
        }

        func finish() async throws {
            do {
                try await imports.accept(image, try await writer.finish())
            } catch let error as ImageError {
                throw ImageImports.refusal(error)
            }
        }

        func cancel() async { await writer.cancel() }
    }

    /// Inspects the file while its sender waits, so that a refusal is the answer, and leaves the rest to a worker.
    func accept(_ image: Image, _ summary: UploadSummary) async throws {
        if let expected = image.expectedChecksum, expected != summary.sha256 {
            images.discardUpload(image.id)
            throw ImageError.checksumMismatch(expected: expected, found: summary.sha256)
        }
        if let expected = image.expectedBytes, expected != summary.byteCount {
            images.discardUpload(image.id)
            throw Refusal(
                .imageRejected, "the file has \(summary.byteCount) bytes, but \(expected) were announced",
                detailCode: "image_size_mismatch")
        }
        let inspected = try await images.inspectUpload(
            image.id, declaredFormat: image.declaredFormat)
        do {
            try await record { commands in
                _ = try commands.beginConversion(
                    image.id, uploadBytes: summary.byteCount, checksum: summary.sha256)
            }
            guard case .enqueued = queue.yield(Job(image: image.id, inspected: inspected)) else {
                throw Refusal(.busy, "too many images are being imported; upload it again later")
            }
        } catch {
            images.discardUpload(image.id)
            throw error
        }
    }

    // MARK: Conversion

    /// Imports that a stop interrupts go on after the next start.
    func run() async throws {
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { group in
                for _ in 0..<Self.parallel {
                    group.addTask { for await job in self.jobs { await self.convert(job) } }
                    group.addTask { for await image in self.unpacked { await self.pack(image) } }
                }
            }
        }
    }

    private func convert(_ job: Job) async {
        let (progress, sink) = AsyncStream<ImportProgress>.makeStream(bufferingPolicy: .bufferingNewest(1))
        do {
            async let followed: Void = follow(progress, job.image)
            let imported = try await {
                defer { sink.finish() }
                return try await images.register(job.image, job.inspected) { sink.yield($0) }
            }()
            await followed
            try await record { commands in
                try commands.finishImport(
                    job.image,
                    .init(
                        format: imported.format.rawValue, sizeBytes: imported.virtualSize,
                        manifestDigest: imported.manifestDigest))
            }
            packSoon(job.image)
        } catch {
            guard !Task.isCancelled else { return }
            await fail(job.image, error)
        }
    }

    // MARK: Packing

    /// Packs what is registered and not packed: after a restart, and where it failed before.
    func packRest() {
        for image in images.unpackedImages.sorted() { packSoon(image) }
    }

    private func packSoon(_ image: ImageID) {
        guard beingPacked.withLock({ $0.insert(image).inserted }) else { return }
        if case .enqueued = packQueue.yield(image) { return }
        beingPacked.withLock { _ = $0.remove(image) }
    }

    /// An image is served meanwhile, so that a failure is no more than a matter for later.
    private func pack(_ image: ImageID) async {
        defer { beingPacked.withLock { _ = $0.remove(image) } }
        do {
            if images.manifestDigest(of: image) == nil { try await registerAgain(image) }
            try await images.pack(image)
            images.discardUpload(image)
        } catch {
            guard !Task.isCancelled, images.unpackedImages.contains(image) else { return }
            logger.warning(
                "an image could not be packed yet; it is tried again",
                metadata: ["image": "\(image)", "reason": "\(Self.reason(error).sentence)"])
        }
    }

    /// After a restart: of an image that was not packed there are its manifest and its upload.
    private func registerAgain(_ id: ImageID) async throws {
        guard let image = try await store.read({ sql in try sql.images.find(id) }), let digest = image.manifestDigest
        else { throw ImageError.cancelled }
        let inspected = try await images.inspectUpload(id, declaredFormat: image.declaredFormat)
        _ = try await images.register(id, inspected, as: digest)
    }

    /// Records progress while it changes.
    private func follow(_ progress: AsyncStream<ImportProgress>, _ image: ImageID) async {
        var percent = -1
        for await step in progress where step.percent > percent {
            percent = step.percent
            try? await record { commands in
                try commands.noteImageProgress(image, percent: step.percent, detail: step.phase.rawValue)
            }
        }
    }

    func fail(_ image: ImageID, _ error: any Error) async {
        let reason = Self.reason(error)
        images.discardUpload(image)
        images.remove(image)
        try? await record { commands in
            try commands.failImport(
                image, code: reason.code, sentence: reason.sentence)
        }
    }

    private static func reason(_ error: any Error) -> (code: String, sentence: String) {
        switch error {
        case let error as ImageError: (error.code, error.sentence)
        case let error as Refusal: (error.detailCode ?? error.code.rawValue, error.sentence)
        case let error as FetchError: (error.code.rawValue, error.sentence)
        default: ("import_failed", "the import ended early; upload the file again")
        }
    }

    /// Uploads that nobody goes on with are given up, and their bytes with them.
    func expire(idleFor patience: Duration) async throws {
        let (own, moment) = (self.own, time.timestamp - patience)
        let idle = try await store.read { sql in
            try sql.images.list(status: .saving).filter { image in
                try image.updatedAt < moment && sql.managers.holder(of: image.id) == own
                    && sql.images.source(of: image.id) == nil && sql.imageCaptures.find(image.id) == nil
            }
        }
        for image in idle {
            images.discardUpload(image.id)
            try await record { commands in
                try commands.failImport(
                    image.id, code: "image_upload_expired", sentence: "the rest of the file never came; send it again")
            }
        }
    }

    /// After a restart: imports whose file had come go on, what was still arriving waits for its rest, and files that no
    /// image has are removed.
    func recover() async throws {
        let own = self.own
        @Sendable func mine(_ status: Image.Status, _ sql: Transaction) throws -> Set<ImageID> {
            Set(try sql.images.list(status: status).map(\.id).filter { try sql.managers.holder(of: $0) == own })
        }
        let (kept, accepted, arriving, fetched) = try await store.read { sql in
            let arriving = try mine(.saving, sql)
            let captured = Set(try sql.imageCaptures.list().map(\.image))
            let offered = Set(try [.active, .deactivated].flatMap { try sql.images.list(status: $0) }.map(\.id))
            return (
                // A copy of a disk may have been published just before the end came.
                offered.union(captured), try mine(.converting, sql), arriving.subtracting(captured),
                try arriving.filter { try captured.contains($0) || sql.images.source(of: $0) != nil }
            )
        }
        let there = images.recover(keeping: kept, accepted: accepted, arriving: arriving)
        let goingOn = there.accepted.union(there.arriving).union(fetched)
        try await record { commands in try commands.failInterruptedImports(except: goingOn, of: own) }
        for image in there.accepted {
            do {
                let declared = try await store.read { sql in try sql.images.find(image)?.declaredFormat }
                let inspected = try await images.inspectUpload(image, declaredFormat: declared)
                logger.info("an interrupted import goes on", metadata: ["image.id": "\(image)"])
                queue.yield(Job(image: image, inspected: inspected))
            } catch {
                await fail(image, error)
            }
        }
        packRest()
    }

    func record(_ body: @escaping @Sendable (Commands) throws -> Void) async throws {
        let now = time.timestamp
        try await store.write { sql in
            try body(Commands(in: sql, actor: .manager, at: now, settings: LifecycleSettings()))
        }
    }

    static func refusal(_ error: ImageError) -> Refusal {
        if case .diskFull = error { return Refusal(.storageFull, error.sentence, detailCode: error.code) }
        if case .uploadExists = error { return Refusal(.conflict, error.sentence, detailCode: error.code) }
        return Refusal(.imageRejected, error.sentence, detailCode: error.code)
    }
}

extension Image {
    /// What whoever announced the image said that its file is.
    fileprivate var declaredFormat: ImageFormat? { format.flatMap { ImageFormat(rawValue: $0) } }
}
