import Logging
import ManagerAPI
import ManagerImageHeaders
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
    }

    // MARK: Uploads

    func begin(_ image: Image, expectedBytes: Int64?) async throws -> any ImageUpload {
        do {
            return Upload(handle: try images.beginUpload(image.id), image: image, imports: self)
        } catch {
            throw Self.refusal(error)
        }
    }

    private struct Upload: ImageUpload {
        let handle: UploadHandle
        let image: Image
        let imports: ImageImports

        func append(_ bytes: ByteBuffer) async throws {
            do {
                try await handle.append(Array(bytes.readableBytesView))
            } catch {
                throw ImageImports.refusal(error)
            }
        }

        func finish() async throws {
            do {
                let summary = try await handle.finish()
                try await imports.accept(image, summary)
            } catch let error as ImageError {
                throw ImageImports.refusal(error)
            }
        }

        func cancel() async { await handle.cancel() }
    }

    /// Inspects the file while its sender waits, so that a refusal is the answer, and leaves the rest to a worker.
    private func accept(_ image: Image, _ summary: UploadSummary) async throws {
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
                return try await images.importUpload(job.image, job.inspected) { sink.yield($0) }
            }()
            await followed
            try await record { commands in
                try commands.finishImport(
                    job.image,
                    .init(
                        format: imported.format.rawValue, sizeBytes: imported.virtualSize,
                        manifestDigest: imported.manifestDigest))
            }
            images.discardUpload(job.image)
        } catch {
            guard !Task.isCancelled else { return }
            await fail(job.image, error)
        }
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

    private func fail(_ image: ImageID, _ error: any Error) async {
        let problem = error as? ImageError
        images.discardUpload(image)
        images.remove(image)
        try? await record { commands in
            try commands.failImport(
                image, code: problem?.code ?? "import_failed",
                sentence: problem?.sentence ?? "the import ended early; upload the file again")
        }
    }

    /// After a restart: imports whose file had come go on, what was still arriving ended with the process, and files that no
    /// image has are removed.
    func recover() async throws {
        let own = self.own
        let (kept, accepted) = try await store.read { sql in
            (
                Set(try sql.images.list(status: .active).map(\.id)),
                Set(
                    try sql.images.list(status: .converting).map(\.id).filter { try sql.managers.holder(of: $0) == own }
                )
            )
        }
        let resumable = images.recover(keeping: kept, accepted: accepted)
        try await record { commands in try commands.failInterruptedImports(except: resumable, of: own) }
        for image in resumable {
            do {
                let declared = try await store.read { sql in try sql.images.find(image)?.declaredFormat }
                let inspected = try await images.inspectUpload(image, declaredFormat: declared)
                logger.info("an interrupted import goes on", metadata: ["image.id": "\(image)"])
                queue.yield(Job(image: image, inspected: inspected))
            } catch {
                await fail(image, error)
            }
        }
    }

    private func record(_ body: @escaping @Sendable (Commands) throws -> Void) async throws {
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
