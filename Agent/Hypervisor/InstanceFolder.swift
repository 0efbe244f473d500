import Foundation
import ProcessThreads
public import ProtocolModel

/// The files of one instance on this host: `<data>/instances/<id>/{disk.qcow2,seed.iso,console.log}`, with `disk.raw` in place
/// of `disk.qcow2` where the disk is a copy of its image. The name says the format, and nothing else does (SEC-02).
public struct InstanceFolder: Sendable {
    public enum Failure: Error, Sendable, Equatable, CustomStringConvertible {
        case diskSmallerThanImage(disk: UInt64, image: UInt64)
        case files(String)

        public var description: String {
            switch self {
            case .diskSmallerThanImage(let disk, let image):
                "the disk of \(disk) bytes is smaller than its image of \(image) bytes; choose a larger flavor"
            case .files(let message): message
            }
        }
    }

    /// What the guest is told on its first boot.
    public struct Seed: Sendable, Equatable {
        public var instance: InstanceID
        public var hostName: String
        public var sshKeys: [String]
        public var userData: [UInt8]
        public var metadata: [String: String]
        /// The first boot is to write a configuration of X for the device that the guest was given.
        public var configuresX: Bool

        public init(
            instance: InstanceID, hostName: String, sshKeys: [String], userData: [UInt8], metadata: [String: String],
            configuresX: Bool = false
        ) {
            self.configuresX = configuresX
            self.instance = instance
            self.hostName = hostName
            self.sshKeys = sshKeys
            self.userData = userData
            self.metadata = metadata
        }
    }

    /// The folder of all instances.
    public static func root(in data: String) -> String { data + "/instances" }

    /// Instances that have a disk here.
    public static func all(in data: String) -> Set<InstanceID> {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: root(in: data))) ?? []
        return Set(
            names.compactMap { InstanceID($0) }.filter {
                InstanceFolder($0, in: data).existingDisk != nil
            })
    }

    private let path: String

    public init(_ instance: InstanceID, in data: String) {
        path = Self.root(in: data) + "/\(instance)"
    }

    /// A boot disk, with its format.
    public struct Disk: Sendable, Equatable {
        public var path: String
        public var format: DomainSpecification.DiskFormat

        /// What the guest sees of it; `nil` where the file does not say.
        public var virtualSizeBytes: Int64? {
            switch format {
            case .qcow2: return OverlayHeader.virtualSize(of: path).flatMap { Int64(exactly: $0) }
            case .raw:
                var status = stat()
                return stat(path, &status) == 0 ? Int64(status.st_size) : nil
            }
        }
    }

    /// The boot disk that there is.
    public var existingDisk: Disk? {
        [overlay, copy].first { FileManager.default.fileExists(atPath: $0.path) }
    }

    var overlay: Disk { Disk(path: diskPath, format: .qcow2) }
    var copy: Disk { Disk(path: path + "/disk.raw", format: .raw) }

    /// The disk as an overlay, whether there is one or not.
    public var diskPath: String { path + "/disk.qcow2" }
    public var seedPath: String { path + "/seed.iso" }
    public var consoleLogPath: String { path + "/console.log" }
    /// Made by libvirt, for a guest with UEFI.
    public var nvramPath: String { path + "/nvram.fd" }

    /// Makes the disk from a cached raw image, unless there is one: never over an existing disk.
    ///
    /// - Parameters:
    ///   - base: an absolute path of a complete raw image; may be `nil` where there is a disk.
    ///   - sizeBytes: rounded up to whole sectors.
    ///   - kind: How a new disk is made; one that is there stays what it is.
    public func createDisk(base: String?, sizeBytes: UInt64, as kind: RootDiskKind = .overlay) async throws {
        let disk = kind == .overlay ? overlay : copy
        let partial = disk.path + ".partial"
        let size = (sizeBytes + 511) / 512 * 512
        let exists = try await Self.threads.run {
            try makeFolder()
            guard existingDisk == nil else { return true }
            guard let base else { throw Failure.files("the image is not on this host; it has to be fetched first") }
            var status = stat()
            guard base.hasPrefix("/"), stat(base, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
                throw Failure.files("the image's file '\(base)' is not on this host; it has to be fetched first")
            }
            let image = UInt64(clamping: status.st_size)
            guard image <= sizeBytes else { throw Failure.diskSmallerThanImage(disk: sizeBytes, image: image) }
            for kind in [overlay, copy] { unlink(kind.path + ".partial") }
            return false
        }
        guard !exists, let base else { return }
        switch kind {
        case .overlay:
            // Both formats are named, so that nothing is guessed from what a guest wrote (SEC-02).
            try await HostProgram.run(
                "qemu-img", ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, partial, "\(size)"])
        case .reflink: try await Self.threads.run { try Reflink.copy(base, to: partial, sizeBytes: size) }
        }
        try await Self.threads.run {
            try settle(partial)
            // A link fails where the name is taken; a rename would put an empty disk in place of a guest's.
            guard link(partial, disk.path) == 0 else { throw Self.failure("cannot name", disk.path) }
            unlink(partial)
            try settle(path)
        }
    }

    /// Writes the NoCloud seed anew: an ISO 9660 file labelled `cidata`.
    public func writeSeed(_ seed: Seed) async throws {
        let staging = path + "/seed.partial"
        let partial = seedPath + ".partial"
        let metaData = Data(seed.metaDataText.utf8)
        let userData = Data(seed.userDataBytes)
        let vendorData = seed.vendorData.map { Data($0.utf8) }
        try await Self.threads.run {
            try makeFolder()
            try? FileManager.default.removeItem(atPath: staging)
            unlink(partial)
            // User data may hold secrets.
            guard mkdir(staging, 0o700) == 0 else { throw Self.failure("cannot make", staging) }
            try metaData.write(to: URL(fileURLWithPath: staging + "/meta-data"))
            try userData.write(to: URL(fileURLWithPath: staging + "/user-data"))
            try vendorData?.write(to: URL(fileURLWithPath: staging + "/vendor-data"))
            // Made beforehand, so that its content is at no time open to others.
            let descriptor = open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
            guard descriptor >= 0 else { throw Self.failure("cannot make", partial) }
            close(descriptor)
        }
        try await HostProgram.run(
            "xorrisofs", ["-quiet", "-output", partial, "-volid", "cidata", "-joliet", "-rock", staging])
        try await Self.threads.run {
            try settle(partial)
            guard rename(partial, seedPath) == 0 else { throw Self.failure("cannot name", seedPath) }
            try settle(path)
            try? FileManager.default.removeItem(atPath: staging)
        }
    }

    /// Removes everything of the instance; no error where there is nothing.
    public func remove() throws {
        do {
            try FileManager.default.removeItem(atPath: path)
        } catch CocoaError.fileNoSuchFile {
            return
        } catch {
            guard FileManager.default.fileExists(atPath: path) else { return }
            throw Failure.files("cannot remove \(path): \(error.localizedDescription)")
        }
    }

    /// QEMU runs as a user of its own: it may pass through the folders and list nothing. The files are closed to others,
    /// which know their names from QEMU's command line; libvirt gives them to that user while the domain runs.
    private func makeFolder() throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        for folder in [(path as NSString).deletingLastPathComponent, path] {
            // Whatever the process's mask took away.
            guard chmod(folder, 0o711) == 0 else { throw Self.failure("cannot open to QEMU", folder) }
        }
    }

    /// Onto the medium; a file is closed to others before.
    private func settle(_ name: String) throws {
        let descriptor = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { throw Self.failure("cannot open", name) }
        defer { close(descriptor) }
        if name != path {
            guard fchmod(descriptor, 0o600) == 0 else { throw Self.failure("cannot close to others", name) }
        }
        guard fsync(descriptor) == 0 else { throw Self.failure("cannot keep", name) }
    }

    /// To be made at once, while `errno` is the call's own.
    private static func failure(_ what: String, _ name: String) -> Failure {
        .files("\(what) \(name): \(String(cString: strerror(errno)))")
    }

    /// A slow disk holds up these, and not the cooperative threads.
    private static let threads = BlockingThreads(name: "roost-instances", threads: 2)
}
