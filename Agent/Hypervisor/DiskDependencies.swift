import Foundation
import Glibc
public import ProtocolModel

/// What the disks of a host's instances are made on top of, as the disks themselves say it: true also for disks that nobody
/// assigns, and while the manager is away.
public struct DiskDependencies: Sendable, Equatable {
    /// Absolute paths of files that disks are made on top of.
    public var bases: Set<String> = []
    /// Instances whose disks need no other file.
    public var independent: Set<InstanceID> = []

    /// Reads the header of every disk below a data folder.
    ///
    /// - Throws: where one cannot be read: then nobody knows what it needs.
    public static func read(in data: String) throws -> Self {
        var found = Self()
        for instance in InstanceFolder.all(in: data) {
            guard let disk = InstanceFolder(instance, in: data).existingDisk else { continue }
            guard disk.format == .qcow2 else {
                found.independent.insert(instance)
                continue
            }
            do {
                if let base = try OverlayHeader.base(of: disk.path) {
                    found.bases.insert(base)
                } else {
                    found.independent.insert(instance)
                }
            } catch {
                // It may have been removed meanwhile.
                guard FileManager.default.fileExists(atPath: disk.path) else { continue }
                throw error
            }
        }
        return found
    }
}

/// The one thing that is wanted of a qcow2 header: the name of the file below it. The guest cannot write there; the file may
/// be damaged all the same.
enum OverlayHeader {
    private static let magic: [UInt8] = [0x51, 0x46, 0x49, 0xFB]
    /// The most that the format allows for the name, and where it ends at the latest: within the first cluster.
    private static let longestName = 1023
    private static let largestCluster: UInt64 = 2 << 20

    /// What a guest sees of the disk, in bytes.
    static func virtualSize(of path: String) -> UInt64? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        guard let header = bytes(descriptor, at: 0, count: 32), Array(header[0..<4]) == magic else { return nil }
        return number(header[24..<32])
    }

    /// `nil`: it stands by itself.
    static func base(of path: String) throws -> String? {
        func unreadable(_ why: String) -> InstanceFolder.Failure {
            .files("the header of \(path) cannot be read (\(why)), so that nobody knows which image it needs")
        }
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { throw unreadable(String(cString: strerror(errno))) }
        defer { close(descriptor) }
        guard let header = bytes(descriptor, at: 0, count: 24), Array(header[0..<4]) == magic else {
            throw unreadable("it is no qcow2 file")
        }
        let version = number(header[4..<8])
        let (offset, length) = (number(header[8..<16]), number(header[16..<20]))
        guard version == 2 || version == 3 else { throw unreadable("its version is \(version)") }
        if offset == 0 { return nil }
        guard length > 0, length <= UInt64(longestName), offset <= largestCluster,
            let name = bytes(descriptor, at: Int(offset), count: Int(length)),
            let text = String(validating: name, as: UTF8.self)
        else { throw unreadable("the name in it makes no sense") }
        return text
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }

    private static func bytes(_ descriptor: Int32, at offset: Int, count: Int) -> [UInt8]? {
        var buffer = [UInt8](repeating: 0, count: count)
        return pread(descriptor, &buffer, count, off_t(offset)) == count ? buffer : nil
    }
}
