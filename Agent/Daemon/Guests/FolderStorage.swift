import AgentHypervisor
import AgentReconcile
import ProcessThreads
import ProtocolModel

/// Instances' files in folders of this host.
struct FolderStorage: InstanceStorage {
    let data: String
    var rootDisk = RootDiskKind.overlay
    /// For calls that only touch files: removing a large disk takes its time.
    let thread: BlockingThreads

    func paths(of instance: InstanceID) -> InstancePaths {
        let folder = InstanceFolder(instance, in: data)
        let disk = folder.existingDisk
        return InstancePaths(
            disk: disk?.path ?? folder.diskPath, diskFormat: disk?.format ?? .qcow2,
            diskIsIndependent: disk?.format == .raw, seed: folder.seedPath, consoleLog: folder.consoleLogPath,
            nvram: folder.nvramPath)
    }

    /// Side by side: each waits for a program of its own, and a guest waits for both.
    func makeFiles(_ assignment: Assignment, image: String?) async throws(ActionFailure) -> Bool {
        async let disk = failure("disk_not_made") {
            try await InstanceFolder(assignment.instance, in: data).createDisk(
                base: image, sizeBytes: assignment.guest.diskBytes, as: rootDisk)
        }
        async let seed = failure("seed_not_made") {
            let guest = assignment.guest
            try await InstanceFolder(assignment.instance, in: data).writeSeed(
                InstanceFolder.Seed(
                    instance: assignment.instance, hostName: guest.hostName, sshKeys: guest.sshKeys,
                    userData: guest.userData, metadata: guest.metadata,
                    configuresX: try GuestHardware(settings: guest.hardware).configuresX))
        }
        for failure in [await disk, await seed] { if let failure { throw failure } }
        return paths(of: assignment.instance).diskIsIndependent
    }

    private func failure(_ code: String, _ body: @Sendable () async throws -> Void) async -> ActionFailure? {
        do throws(ActionFailure) {
            try await trying(code, body)
            return nil
        } catch {
            return error
        }
    }

    func remove(_ instance: InstanceID) async throws(ActionFailure) {
        try await trying("disk_not_removed") {
            try await thread.run { [data] in try InstanceFolder(instance, in: data).remove() }
        }
    }

    func instancesWithDisks() async throws(ActionFailure) -> (all: Set<InstanceID>, independent: Set<InstanceID>) {
        try await trying("disks_not_listed") {
            try await thread.run { [data] in
                let all = InstanceFolder.all(in: data)
                return (all, all.filter { InstanceFolder($0, in: data).existingDisk?.format == .raw })
            }
        }
    }

    private func trying<Answer: Sendable>(
        _ code: String, _ body: () async throws -> Answer
    ) async throws(ActionFailure) -> Answer {
        do {
            return try await body()
        } catch {
            throw ActionFailure(code: code, sentence: "\(error)")
        }
    }
}
