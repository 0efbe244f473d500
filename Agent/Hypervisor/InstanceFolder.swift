import Foundation
public import ProtocolModel

/// The files of one instance on this host: `<data>/instances/<id>/{disk.qcow2,seed.iso,console.log}`.
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

        public init(
            instance: InstanceID, hostName: String, sshKeys: [String], userData: [UInt8], metadata: [String: String]
        ) {
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
                FileManager.default.fileExists(atPath: InstanceFolder($0, in: data).diskPath)
            })
    }

    private let path: String

    public init(_ instance: InstanceID, in data: String) {
        path = Self.root(in: data) + "/\(instance)"
    }

    public var diskPath: String { path + "/disk.qcow2" }
    public var seedPath: String { path + "/seed.iso" }
    public var consoleLogPath: String { path + "/console.log" }

    /// Makes the disk on top of a cached raw image, unless there is one: never over an existing disk.
    ///
    /// - Parameter base: an absolute path of a complete raw image.
    public func createDisk(base: String, sizeBytes: UInt64) async throws {
        try makeFolder()
        guard !FileManager.default.fileExists(atPath: diskPath) else { return }
        let image = (try FileManager.default.attributesOfItem(atPath: base)[.size] as? NSNumber)?.uint64Value ?? 0
        guard image <= sizeBytes else { throw Failure.diskSmallerThanImage(disk: sizeBytes, image: image) }
        let partial = diskPath + ".partial"
        try? FileManager.default.removeItem(atPath: partial)
        // Both formats are named, so that nothing is guessed from what a guest wrote (SEC-02).
        try await HostProgram.run(
            "qemu-img", ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, partial, "\(sizeBytes)"])
        try publish(partial, as: diskPath)
    }

    /// Writes the NoCloud seed anew: an ISO 9660 file labelled `cidata`.
    public func writeSeed(_ seed: Seed) async throws {
        try makeFolder()
        let staging = path + "/seed.partial"
        try? FileManager.default.removeItem(atPath: staging)
        try FileManager.default.createDirectory(atPath: staging, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: staging) }
        try Data(seed.metaDataText.utf8).write(to: URL(fileURLWithPath: staging + "/meta-data"))
        try Data(seed.userDataBytes).write(to: URL(fileURLWithPath: staging + "/user-data"))
        let partial = seedPath + ".partial"
        try? FileManager.default.removeItem(atPath: partial)
        try await HostProgram.run(
            "xorrisofs", ["-quiet", "-output", partial, "-volid", "cidata", "-joliet", "-rock", staging])
        try publish(partial, as: seedPath)
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

    /// QEMU runs as a user of its own: it may pass through the folders and read what libvirt gives it, and list nothing.
    private func makeFolder() throws {
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o711])
    }

    private func publish(_ partial: String, as final: String) throws {
        let descriptor = open(partial, O_RDONLY)
        guard descriptor >= 0 else {
            throw Failure.files("cannot open \(partial): \(String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0, rename(partial, final) == 0 else {
            throw Failure.files("cannot keep \(final): \(String(cString: strerror(errno)))")
        }
    }
}

extension InstanceFolder.Seed {
    /// cloud-init reads meta-data as YAML, of which JSON is a part: one encoder escapes everything.
    var metaDataText: String {
        struct MetaData: Encodable {
            var instanceID: String
            var localHostname: String
            var publicKeys: [String]
            var roost: [String: String]

            enum CodingKeys: String, CodingKey {
                case instanceID = "instance-id"
                case localHostname = "local-hostname"
                case publicKeys = "public-keys"
                case roost = "roost_metadata"
            }
        }
        return Self.json(
            MetaData(instanceID: "\(instance)", localHostname: hostName, publicKeys: sshKeys, roost: metadata)) + "\n"
    }

    /// The owner's user data as it is; where there is none, a minimal document that sets host name and keys.
    var userDataBytes: [UInt8] {
        guard userData.isEmpty else { return userData }
        struct CloudConfig: Encodable {
            var hostname: String
            var ssh_authorized_keys: [String]
        }
        return Array(
            "#cloud-config\n\(Self.json(CloudConfig(hostname: hostName, ssh_authorized_keys: sshKeys)))\n".utf8)
    }

    private static func json(_ value: some Encodable) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        // Strings alone cannot fail to encode.
        return (try? encoder.encode(value)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
    }
}
