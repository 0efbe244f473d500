import Logging
import ManagerAPI
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
    private let images: ImageStore
    private let store: Store
    private let time: any TimeSource
    private let logger: Logger
    private let jobs: AsyncStream<Job>
    private let queue: AsyncStream<Job>.Continuation
    /// One import keeps both a disk and a processor busy; more at once would only make each slower.
    private static let parallel = 2

    struct Job: Sendable {
        var image: Image
        var summary: UploadSummary
        /// Ends once the file was inspected, with what was wrong with it.
        var inspected: AsyncStream<ImageError>.Continuation
    }

    init(images: ImageStore, store: Store, time: any TimeSource, logger: Logger) {
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
                try await imports.inspect(image, try await handle.finish())
            } catch let error as ImageError {
                throw ImageImports.refusal(error)
            }
        }

        func cancel() async { await handle.cancel() }
    }

    /// Hands the file over to a worker and waits until it was inspected.
    private func inspect(_ image: Image, _ summary: UploadSummary) async throws {
        let (outcome, continuation) = AsyncStream<ImageError>.makeStream(bufferingPolicy: .bufferingOldest(1))
        let job = Job(image: image, summary: summary, inspected: continuation)
        guard case .enqueued = queue.yield(job) else {
            images.remove(image.id)
            throw Refusal(.busy, "too many images are being imported; upload it again later")
        }
        for await problem in outcome { throw Self.refusal(problem) }
    }

    // MARK: Conversion

    func run() async throws {
        await withTaskCancellationOrGracefulShutdownHandler {
            await withDiscardingTaskGroup { group in
                for _ in 0..<Self.parallel {
                    group.addTask { for await job in self.jobs { await self.convert(job) } }
                }
            }
        } onCancelOrGracefulShutdown: {
            self.queue.finish()
        }
    }

    private func convert(_ job: Job) async {
        let id = job.image.id
        let (progress, sink) = AsyncStream<ImportProgress>.makeStream(bufferingPolicy: .bufferingNewest(1))
        do {
            let imported = try await withThrowingTaskGroup(of: ImportedImage?.self) { group in
                group.addTask { [images] in
                    defer { sink.finish() }
                    return try await images.importUploaded(
                        id, declaredFormat: job.image.format.flatMap { ImageFormat(rawValue: $0) }
                    ) { sink.yield($0) }
                }
                group.addTask {
                    await self.follow(progress, job)
                    return nil
                }
                var result: ImportedImage?
                while let next = try await group.next() { if let next { result = next } }
                return result
            }
            guard let imported else { return }
            try await record { commands in
                try commands.finishImport(
                    id,
                    .init(
                        format: imported.format.rawValue, sizeBytes: imported.virtualSize,
                        manifestDigest: imported.manifestDigest))
            }
            logger.info("image imported", metadata: ["image.id": "\(id)", "stored_bytes": "\(imported.storedBytes)"])
        } catch {
            await fail(job, error)
        }
    }

    /// Records progress while it changes; the first sign after inspection lets the uploader go.
    private func follow(_ progress: AsyncStream<ImportProgress>, _ job: Job) async {
        var isRecorded = false
        var percent = -1
        for await step in progress {
            if step.phase == .inspecting { continue }
            if !isRecorded {
                isRecorded = true
                await noteAccepted(job)
            }
            guard step.percent > percent else { continue }
            percent = step.percent
            try? await record { commands in
                try commands.noteImageProgress(job.image.id, percent: step.percent, detail: step.phase.rawValue)
            }
        }
        // A small image may be through before its first progress was read.
        if !isRecorded { await noteAccepted(job) }
    }

    private func noteAccepted(_ job: Job) async {
        do {
            try await record { commands in
                _ = try commands.beginConversion(
                    job.image.id, uploadBytes: job.summary.byteCount, checksum: job.summary.sha256)
            }
        } catch {
            logger.warning("import not recorded", metadata: ["image.id": "\(job.image.id)", "error": "\(error)"])
        }
        job.inspected.finish()
    }

    private func fail(_ job: Job, _ error: any Error) async {
        let problem = error as? ImageError
        let code = problem.map(\.code) ?? "import_failed"
        let sentence = problem.map(\.sentence) ?? "the import ended early; upload the file again"
        if let problem { job.inspected.yield(problem) }
        job.inspected.finish()
        images.remove(job.image.id)
        logger.notice(
            "image refused", metadata: ["image.id": "\(job.image.id)", "code": "\(code)", "reason": "\(sentence)"])
        try? await record { commands in try commands.failImport(job.image.id, code: code, sentence: sentence) }
    }

    /// After a restart: what was under way ended with the process, and files that no image has are removed.
    func recover() async throws {
        let now = time.timestamp
        let kept = try await store.write { sql in
            let commands = Commands(in: sql, actor: .manager, at: now, settings: LifecycleSettings())
            for status in [Image.Status.saving, .converting] {
                for image in try sql.images.list(status: status) {
                    try commands.failImport(
                        image.id, code: "interrupted",
                        sentence: "the manager was restarted during the import; upload it again")
                }
            }
            return Set(try sql.images.list(status: .active).map(\.id))
        }
        images.recover(keeping: kept)
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
