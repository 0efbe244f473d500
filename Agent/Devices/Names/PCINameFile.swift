import Glibc
import Synchronization

/// A database of names on the disk: read when a device is seen that it was not asked for before, or when it has changed.
final class PCINameFile: Sendable {
    /// Ten times what the database has.
    private static let maximumBytes = 16 << 20

    private struct State {
        var version: Version?
        var asked: Set<PCINames.Identity> = []
        var names = PCINames()
    }

    private struct Version: Equatable {
        var seconds: Int
        var bytes: Int
    }

    private let path: String
    private let state = Mutex(State())

    init(path: String) { self.path = path }

    /// Names of these devices, in their order. Without the file there are none, and nothing is wrong.
    func names(of devices: [PCIDevice]) -> [DeviceNames] {
        let wanted = devices.map(PCINames.Identity.init)
        return state.withLock { state in
            let version = version()
            if version != state.version || !state.asked.isSuperset(of: wanted) {
                state.version = version
                state.asked = Set(wanted)
                state.names = version == nil ? PCINames() : PCINames(text(), wanted: state.asked)
            }
            return wanted.map { state.names.names(of: $0) }
        }
    }

    private func version() -> Version? {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
        return Version(seconds: status.st_mtim.tv_sec, bytes: Int(status.st_size))
    }

    private func text() -> [UInt8] {
        guard let slash = path.lastIndex(of: "/") else { return [] }
        return SmallFiles(root: String(path[..<slash]))
            .bytes(String(path[path.index(after: slash)...]), limit: Self.maximumBytes) ?? []
    }
}
