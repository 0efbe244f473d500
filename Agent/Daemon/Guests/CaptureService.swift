import AgentHypervisor
import AgentImages
import AgentReconcile
import Logging
import ProcessThreads
import ProtocolModel
import ProtocolTransfer
import ServiceLifecycle
import Synchronization

/// What copies of disks are made with.
struct DiskCopying: Sendable {
    var copier: any DiskCopier
    /// The boot disk of an instance, where it has one.
    var disk: @Sendable (InstanceID) -> InstanceFolder.Disk?
    var emulator: String?
}

/// Makes copies of guests' disks for images: carries out what `CaptureCore` decides. Who has a disk when is the reconciler's
/// to say, since it alone starts guests.
final class CaptureService: Service {
    private let folder: CaptureFolder
    private let disks: DiskCopying
    private let reconcile: ReconcileService
    private let time: any TimeSource
    private let logger: Logger
    private let report: @Sendable (CaptureStatusValue) -> Void
    private let mailbox = Mailbox<CaptureCore.Event>()
    private let files = BlockingThreads(name: "roost-captures")
    /// Rung to stop what runs for an image.
    private let stops = Mutex<[ImageID: Stop]>([:])

    private final class Stop: Sendable {
        let bell = Bell()
        let isRung = Mutex(false)

        func ring() {
            isRung.withLock { $0 = true }
            bell.ring()
        }
    }

    /// Of the whole work, copying is this share: what follows reads the copy once.
    private static let copyingPercent = 60

    init(
        folder: CaptureFolder, disks: DiskCopying, reconcile: ReconcileService, time: any TimeSource, logger: Logger,
        report: @escaping @Sendable (CaptureStatusValue) -> Void
    ) {
        self.folder = folder
        self.disks = disks
        self.reconcile = reconcile
        self.time = time
        self.logger = logger
        self.report = report
    }

    /// All that is wanted from now on.
    func want(_ captures: [CaptureAssignmentValue]) { mailbox.post(.wanted(captures)) }

    func lent(_ instance: InstanceID, _ loan: DiskLoan) {
        switch loan {
        case .running: mailbox.post(.lent(instance, running: true))
        case .stopped: mailbox.post(.lent(instance, running: false))
        case .absent: mailbox.post(.lent(instance, running: nil))
        }
    }

    func run() async throws {
        await cancelWhenGracefulShutdown { await self.work() }
        files.close()
    }

    private func work() async {
        await endOldCopies()
        var core = CaptureCore(found: folder.sealed)
        await withDiscardingTaskGroup { group in
            while !Task.isCancelled {
                for event in mailbox.takeAll() {
                    for effect in core.handle(event, at: time.uptime) { carryOut(effect, in: &group) }
                }
                guard let wake = core.nextWake else {
                    await mailbox.wait()
                    continue
                }
                let left = wake - time.uptime
                if left > .zero { await mailbox.wait(atMost: left) }
                if time.uptime >= wake { mailbox.post(.tick) }
            }
            group.cancelAll()
        }
    }

    /// What an earlier life of the agent left running writes into files that are gone, and holds disks.
    private func endOldCopies() async {
        var backoff = Backoff(first: .seconds(1), maximum: .seconds(30))
        var random = SystemRandomNumberGenerator()
        while !Task.isCancelled {
            do throws(HypervisorError) {
                return try await disks.copier.endCopies(into: folder.path)
            } catch {
                try? await Task.sleep(for: backoff.next(using: &random))
            }
        }
    }

    private func carryOut(_ effect: CaptureCore.Effect, in group: inout DiscardingTaskGroup) {
        switch effect {
        case .borrow(let instance): reconcile.post(.diskWanted(instance))
        case .giveBack(let instance): reconcile.post(.diskReturned(instance))
        case .begin(let capture, let running):
            let stop = Stop()
            stops.withLock { $0[capture.image] = stop }
            group.addTask {
                let result = await self.capture(capture, running: running, stop)
                self.stops.withLock { $0[capture.image] = nil }
                self.mailbox.post(.ended(capture.image, result))
            }
        case .stop(let image): stops.withLock { $0[image] }?.ring()
        case .remove(let image): folder.remove(image)
        case .report(let status): report(status)
        }
    }

    // MARK: One copy

    /// `nil`: it was stopped.
    private func capture(
        _ capture: CaptureAssignmentValue, running: Bool, _ stop: Stop
    ) async -> Result<SealedCapture, CaptureFailure>? {
        logger.info(
            "making an image of a disk",
            metadata: ["image": "\(capture.image)", "instance": "\(capture.instance)", "running": "\(running)"])
        let result = await withTaskGroup(of: Result<SealedCapture, CaptureFailure>?.self) { group in
            group.addTask {
                do throws(CaptureFailure) {
                    return .success(try await self.copyAndSeal(capture, running: running, stop))
                } catch {
                    return .failure(error)
                }
            }
            group.addTask {
                await stop.bell.heard()
                return nil
            }
            let first = await group.next() ?? nil
            group.cancelAll()
            // What is stopped has cleaned up when it ends.
            await group.waitForAll()
            return first
        }
        guard !stop.isRung.withLock({ $0 }), !Task.isCancelled else { return nil }
        switch result {
        case .success(let sealed)?:
            logger.info(
                "a disk was copied for an image",
                metadata: [
                    "image": "\(capture.image)", "instance": "\(capture.instance)",
                    "manifest": "\(sealed.manifestDigest)",
                ])
        case .failure(let failure)?:
            logger.warning(
                "no image of a disk was made",
                metadata: [
                    "image": "\(capture.image)", "instance": "\(capture.instance)", "code": "\(failure.code)",
                    "reason": "\(failure.sentence)",
                ])
        case nil: break
        }
        return result
    }

    private func copyAndSeal(
        _ capture: CaptureAssignmentValue, running: Bool, _ stop: Stop
    ) async throws(CaptureFailure) -> SealedCapture {
        let image = capture.image
        guard let disk = disks.disk(capture.instance), let size = disk.virtualSizeBytes else {
            throw CaptureFailure(
                code: "no_disk", sentence: "the instance has no disk on its host that could be copied",
                hope: .afterAFewTries)
        }
        let target = try await onFiles { [folder] in try folder.prepare(image, sizeBytes: size) }
        let copy = DiskCopy(
            image: image, instance: capture.instance, disk: disk, target: target, emulator: disks.emulator)
        do throws(HypervisorError) {
            try await disks.copier.copyDisk(copy, running: running) { [mailbox] percent in
                mailbox.post(.progressed(image, percent: percent * Self.copyingPercent / 100))
            }
        } catch {
            throw CaptureFailure(error)
        }
        mailbox.post(.copied(image))
        return try await onFiles { [folder, mailbox] in
            let told = Mutex(0)
            return try folder.seal(image, sizeBytes: size) { percent in
                let isNews = told.withLock { last in
                    guard percent >= last + 5 else { return false }
                    last = percent
                    return true
                }
                if isNews {
                    let share = 100 - Self.copyingPercent
                    mailbox.post(.progressed(image, percent: Self.copyingPercent + percent * share / 100))
                }
                return !stop.isRung.withLock { $0 }
            }
        }
    }

    private func onFiles<Answer: Sendable>(
        _ body: @escaping @Sendable () throws -> Answer
    ) async throws(CaptureFailure) -> Answer {
        do {
            return try await files.run(body)
        } catch let error as ImageCacheError {
            throw CaptureFailure(error)
        } catch {
            throw CaptureFailure(code: "host_busy", sentence: "\(error)", hope: .always)
        }
    }
}

extension CaptureFailure {
    init(_ error: HypervisorError) {
        let failure = ActionFailure(error)
        let hope: Hope =
            switch error {
            case .unreachable, .overloaded, .jobRuns: .always
            case .diskFull, .badConfiguration, .foreignDomain, .hardwareRefused: .none
            case .domainRuns, .noSuchDomain, .refused, .domainStopped: .afterAFewTries
            }
        self.init(code: failure.code, sentence: failure.sentence, hope: hope)
    }

    init(_ error: ImageCacheError) {
        switch error {
        case .diskFull(let path):
            self.init(HypervisorError.diskFull(path: path))
        case .file, .noRoom, .removed:
            self.init(code: "copy_not_kept", sentence: "\(error)", hope: .afterAFewTries)
        }
    }
}
