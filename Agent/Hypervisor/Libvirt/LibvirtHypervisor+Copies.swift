import CLibvirt
import Foundation
import ProtocolModel

/// Copies of disks by libvirt's push backups, which QEMU makes of a disk as it is at one moment while the guest runs on. For an
/// instance that is stopped, a domain stands in that has the disk and nothing else and never runs an instruction; libvirt
/// destroys it by itself when the agent's connection ends.
extension LibvirtHypervisor: DiskCopier {
    private static let interval = Duration.milliseconds(250)

    public func copyDisk(
        _ copy: DiskCopy, running: Bool, progress: @escaping @Sendable (Int) -> Void
    ) async throws(HypervisorError) {
        let name = running ? DomainXML.name(of: copy.instance) : CopyXML.name(of: copy.image)
        if !running { try await standIn(for: copy) }
        do throws(HypervisorError) {
            try await begin(copy, on: name)
            try await follow(copy, on: name, progress)
        } catch {
            await end(copy, on: name, running: running)
            throw error
        }
        if !running { await end(copy, on: name, running: false) }
    }

    public func endCopies(into folder: String) async throws(HypervisorError) {
        try await connection.call { [node] connection in
            try Self.eachRunning(connection) { domain throws(HypervisorError) in
                if try domain.standsIn(for: node) {
                    _ = virDomainDestroy(domain.raw)
                } else if try domain.marks(of: node) != nil {
                    try Self.endJob(of: domain, into: folder)
                }
            }
        }
    }

    // MARK: A domain that stands in

    private func standIn(for copy: DiskCopy) async throws(HypervisorError) {
        let node = self.node
        try await connection.call { connection in
            let base: String?
            do {
                base = copy.disk.format == .qcow2 ? try OverlayHeader.base(of: copy.disk.path) : nil
            } catch {
                throw HypervisorError.badConfiguration("\(error)")
            }
            let flags = VIR_DOMAIN_START_PAUSED.rawValue | VIR_DOMAIN_START_AUTODESTROY.rawValue
            guard let raw = virDomainCreateXML(connection, CopyXML.domain(copy, base: base, node: node), flags) else {
                throw LibvirtConnection.lastError
            }
            _ = DomainHandle(owning: raw)
        }
    }

    /// Whatever the task's fate: nothing of the copy may run when it is over.
    private func end(_ copy: DiskCopy, on name: String, running: Bool) async {
        let node = self.node
        try? await connection.call { connection in
            guard let domain = try DomainHandle(named: name, on: connection) else { return }
            if running {
                try Self.endJob(of: domain, into: copy.folder)
            } else if try domain.standsIn(for: node) {
                _ = virDomainDestroy(domain.raw)
            }
        }
    }

    // MARK: The job

    private func begin(_ copy: DiskCopy, on name: String) async throws(HypervisorError) {
        try await connection.call { connection in
            guard let domain = try DomainHandle(named: name, on: connection) else {
                throw HypervisorError.domainStopped(copy.instance)
            }
            // Only one copy is made at a time: another of ours was left behind by an agent that was killed.
            try Self.endJob(of: domain, into: copy.folder)
            // What an earlier job left to be told is not taken for this one's end.
            _ = try? domain.job(completed: true)
            if let job = try domain.job(completed: false), job.isActive { throw HypervisorError.jobRuns(copy.instance) }
            guard domain.beginBackup(to: copy.target) else {
                if try !domain.isActive() { throw HypervisorError.domainStopped(copy.instance) }
                throw Self.failure(LibvirtConnection.lastError, copy)
            }
        }
    }

    private func follow(
        _ copy: DiskCopy, on name: String, _ progress: @Sendable (Int) -> Void
    ) async throws(HypervisorError) {
        while true {
            let look: DomainJob? = try await connection.call { connection in
                guard let domain = try DomainHandle(named: name, on: connection) else {
                    throw HypervisorError.domainStopped(copy.instance)
                }
                if let job = try domain.job(completed: false), job.isActive { return job }
                // It has ended: how is told once.
                return try domain.job(completed: true)
            }
            guard let look else { throw .domainStopped(copy.instance) }
            if !look.isActive { return try judge(look, copy) }
            progress(look.percent)
            do { try await Task.sleep(for: Self.interval) } catch {
                throw .refused(code: 0, message: "the copy was stopped")
            }
        }
    }

    private func judge(_ job: DomainJob, _ copy: DiskCopy) throws(HypervisorError) {
        guard job.isBackup, job.hasSucceeded else {
            throw Self.failure(.refused(code: 0, message: job.message.isEmpty ? "the copy failed" : job.message), copy)
        }
    }

    /// QEMU and libvirt tell what the disk said in words alone.
    private static func failure(_ error: HypervisorError, _ copy: DiskCopy) -> HypervisorError {
        guard case .refused(_, let message) = error, message.contains("No space left") else { return error }
        return .diskFull(path: copy.target)
    }

    /// Ends the domain's job where it is a copy into the folder, and returns when it is over.
    private static func endJob(of domain: borrowing DomainHandle, into folder: String) throws(HypervisorError) {
        for _ in 0..<100 {
            guard let job = try domain.job(completed: false), job.isActive, job.isBackup else { return }
            guard let text = virDomainBackupGetXMLDesc(domain.raw, 0) else { return }
            let target = CopyXML.target(job: String(cString: text))
            free(text)
            guard let target, target.hasPrefix(folder + "/") else { return }
            _ = virDomainAbortJob(domain.raw)
            // On a thread of its own.
            usleep(50_000)
        }
        throw .refused(code: 0, message: "a copy of a disk does not end")
    }
}

/// A long job of a domain.
struct DomainJob: Sendable {
    var isActive: Bool
    var isBackup: Bool
    var hasSucceeded: Bool
    var percent: Int
    var message: String
}

extension DomainHandle {
    /// Looks a domain up by its name; `nil` where there is none.
    init?(named name: String, on connection: OpaquePointer) throws(HypervisorError) {
        guard let raw = virDomainLookupByName(connection, name) else {
            if LibvirtConnection.isLastError(VIR_ERR_NO_DOMAIN) { return nil }
            throw LibvirtConnection.lastError
        }
        self.init(owning: raw)
    }

    func isActive() throws(HypervisorError) -> Bool {
        let answer = virDomainIsActive(raw)
        guard answer >= 0 else {
            if LibvirtConnection.isLastError(VIR_ERR_NO_DOMAIN) { return false }
            throw LibvirtConnection.lastError
        }
        return answer == 1
    }

    /// Whether the agent of `node` started it for a copy.
    func standsIn(for node: NodeID) throws(HypervisorError) -> Bool {
        guard let name = virDomainGetName(raw).map({ String(cString: $0) }), CopyXML.namedImage(name) != nil else {
            return false
        }
        return try markText().flatMap { CopyXML.node(marks: $0) } == node
    }

    /// False where libvirt refuses, and says why in its last error.
    func beginBackup(to target: String) -> Bool {
        virDomainBackupBegin(raw, CopyXML.job(target: target), nil, 0) == 0
    }

    /// What the domain is busy with, or, once, what it was busy with last. `nil`: nothing, or the domain has ended.
    func job(completed: Bool) throws(HypervisorError) -> DomainJob? {
        var type: Int32 = 0
        var parameters: virTypedParameterPtr?
        var count: Int32 = 0
        let flags = completed ? VIR_DOMAIN_JOB_STATS_COMPLETED.rawValue : 0
        guard virDomainGetJobStats(raw, &type, &parameters, &count, flags) == 0 else {
            for code in [VIR_ERR_OPERATION_INVALID, VIR_ERR_NO_DOMAIN] where LibvirtConnection.isLastError(code) {
                return nil
            }
            throw LibvirtConnection.lastError
        }
        defer { virTypedParamsFree(parameters, count) }
        let kind = UInt32(bitPattern: type)
        if kind == VIR_DOMAIN_JOB_NONE.rawValue { return nil }
        let values = DomainCounters(parameters, count: count)
        var message: UnsafePointer<CChar>?
        _ = virTypedParamsGetString(parameters, count, VIR_DOMAIN_JOB_ERRMSG, &message)
        let (total, done) = (values[VIR_DOMAIN_JOB_DISK_TOTAL] ?? 0, values[VIR_DOMAIN_JOB_DISK_PROCESSED] ?? 0)
        return DomainJob(
            isActive: kind == VIR_DOMAIN_JOB_BOUNDED.rawValue || kind == VIR_DOMAIN_JOB_UNBOUNDED.rawValue,
            isBackup: values[VIR_DOMAIN_JOB_OPERATION] == UInt64(VIR_DOMAIN_JOB_OPERATION_BACKUP.rawValue),
            hasSucceeded: kind == VIR_DOMAIN_JOB_COMPLETED.rawValue,
            percent: total == 0 ? 0 : Int(min(done, total) * 100 / total),
            message: message.map { String(cString: $0) } ?? "")
    }
}
