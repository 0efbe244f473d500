import Foundation

/// What the kernel says of this host.
struct HostFacts: Sendable {
    private let proc: String

    init(proc: String = "/proc") { self.proc = proc }

    var hostName: String {
        text("sys/kernel/hostname")?.trimmingCharacters(in: .whitespacesAndNewlines) ?? "localhost"
    }

    var kernelVersion: String {
        text("sys/kernel/osrelease")?.trimmingCharacters(in: .whitespacesAndNewlines) ?? ""
    }

    /// As `uname -m` says it.
    var architecture: String {
        var name = utsname()
        guard uname(&name) == 0 else { return "" }
        return withUnsafeBytes(of: &name.machine) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    var cpuModel: String {
        let line = text("cpuinfo")?.split(separator: "\n").first { $0.hasPrefix("model name") }
        return line?.split(separator: ":", maxSplits: 1).last?.trimmingCharacters(in: .whitespaces) ?? ""
    }

    var memoryBytes: UInt64 { memory("MemTotal:") }
    var memoryAvailableBytes: UInt64 { memory("MemAvailable:") }

    var loadAverage: Double {
        text("loadavg")?.split(separator: " ").first.flatMap { Double($0) } ?? 0
    }

    /// Size of the file system under a path, and what is free for us there.
    static func disk(_ path: String) -> (total: UInt64, available: UInt64) {
        var figures = statvfs()
        guard statvfs(path, &figures) == 0 else { return (0, 0) }
        let unit = UInt64(figures.f_frsize)
        return (UInt64(figures.f_blocks) * unit, UInt64(figures.f_bavail) * unit)
    }

    private func memory(_ key: String) -> UInt64 {
        let line = text("meminfo")?.split(separator: "\n").first { $0.hasPrefix(key) }
        let number = line?.split(separator: " ").dropFirst().first.flatMap { UInt64($0) }
        return (number ?? 0) * 1024
    }

    private func text(_ name: String) -> String? {
        try? String(contentsOfFile: proc + "/" + name, encoding: .utf8)
    }
}
