import Foundation
import Glibc

/// A file system of some mebibytes, which can be full without filling the machine's disk. Needs root and loop devices.
public final class SmallDisk: Sendable {
    public struct Failure: Error, CustomStringConvertible {
        public let description: String
    }

    /// Where it is mounted.
    public let folder: String
    private var image: String { folder + ".image" }
    private var ballast: String { folder + "/ballast" }

    /// - Parameter kind: `ext4`, `btrfs` (128 MiB at least) or `xfs` (320).
    public init(mebibytes: Int, as kind: String = "ext4") throws {
        folder = NSTemporaryDirectory() + "roost-disk-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        try Self.run("/usr/bin/truncate", "--size=\(mebibytes)M", image)
        if kind == "ext4" {
            try Self.run("/usr/sbin/mkfs.ext4", "-q", "-m", "0", image)
        } else {
            try Self.run("/usr/sbin/mkfs." + kind, "-q", image)
        }
        try Self.run("/usr/bin/mount", "-o", "loop", image, folder)
    }

    deinit {
        try? Self.run("/usr/bin/umount", "--lazy", folder)
        try? FileManager.default.removeItem(atPath: image)
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// Leaves no byte.
    public func fill() throws {
        let file = open(ballast, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        guard file >= 0 else { throw Failure(description: "\(ballast) cannot be made: error \(errno)") }
        defer { close(file) }
        for size in [1 << 20, 1 << 12, 1] {
            let block = [UInt8](repeating: 1, count: size)
            while write(file, block, size) > 0 {}
        }
    }

    /// Gives back what `fill` took.
    public func free() throws {
        try FileManager.default.removeItem(atPath: ballast)
    }

    private static func run(_ program: String, _ arguments: String...) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw Failure(description: "\(program) failed") }
    }
}
