public import ProtocolModel

/// A copy of an instance's boot disk as it is at one moment: overlay and image below it as one raw file.
public struct DiskCopy: Sendable, Equatable {
    /// What the copy is for; tells it apart from others of the same disk.
    public var image: ImageID
    public var instance: InstanceID
    public var disk: InstanceFolder.Disk
    /// Where the copy goes: an absolute path of a file that is not there yet, in a folder that holds nothing but copies.
    public var target: String
    public var emulator: String?

    var folder: String { String(target[..<(target.lastIndex(of: "/") ?? target.startIndex)]) }

    public init(
        image: ImageID, instance: InstanceID, disk: InstanceFolder.Disk, target: String, emulator: String? = nil
    ) {
        self.image = image
        self.instance = instance
        self.disk = disk
        self.target = target
        self.emulator = emulator
    }
}

/// Makes copies of guests' disks. The guest is not touched: it runs on, or stays off.
public protocol DiskCopier: Sendable {
    /// Copies a disk. A cancelled task stops the copy, and nothing of it runs any more when this returns.
    ///
    /// - Parameters:
    ///   - running: whether the instance's domain has the disk; otherwise no domain may have it meanwhile.
    ///   - progress: is told percents.
    /// - Throws: `HypervisorError`, `domainStopped` where the domain ended meanwhile; what lies at the target is of no use then.
    func copyDisk(
        _ copy: DiskCopy, running: Bool, progress: @escaping @Sendable (Int) -> Void
    ) async throws(HypervisorError)

    /// Ends all copies into a folder that an earlier life of the agent began.
    func endCopies(into folder: String) async throws(HypervisorError)
}

extension MemoryHypervisor: DiskCopier {
    public func copyDisk(
        _ copy: DiskCopy, running: Bool, progress: @escaping @Sendable (Int) -> Void
    ) async throws(HypervisorError) {
        throw .badConfiguration("guests that are simulated in memory have no disks to copy")
    }

    public func endCopies(into folder: String) async throws(HypervisorError) {}
}
