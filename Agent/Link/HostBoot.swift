public import AgentDurability
import Foundation
public import ProtocolModel

/// The boot of the host's kernel that this process lives in, and whether the agent has seen it before.
public struct HostBoot: Sendable, Equatable {
    public enum Problem: Error, CustomStringConvertible {
        case unreadable(String)
        case files(FileProblem)

        public var description: String {
            switch self {
            case .unreadable(let path): "\(path) does not hold a boot ID; is /proc mounted?"
            case .files(let problem): problem.description
            }
        }
    }

    public static let source = "/proc/sys/kernel/random/boot_id"

    public let id: BootID
    /// The agent ran before, in an earlier boot of the host.
    public let hostRebooted: Bool

    public static func read(
        data: String, source: String = source, files: any FileSystem = HostFileSystem()
    ) throws(Problem) -> HostBoot {
        do {
            guard let now = try id(in: source, files) else { throw Problem.unreadable(source) }
            let path = data + "/boot"
            let before = try id(in: path, files)
            if before != now { try files.replace(path, with: Array("\(now)\n".utf8), mode: 0o600) }
            return HostBoot(id: now, hostRebooted: before != nil && before != now)
        } catch let problem as FileProblem {
            throw .files(problem)
        } catch {
            throw .unreadable(source)
        }
    }

    /// The boot that this process lives in; what the agent has seen stays as it is.
    public static func current(
        source: String = source, files: any FileSystem = HostFileSystem()
    ) throws(Problem) -> BootID {
        do {
            guard let now = try id(in: source, files) else { throw Problem.unreadable(source) }
            return now
        } catch {
            throw .unreadable(source)
        }
    }

    private static func id(in path: String, _ files: any FileSystem) throws(FileProblem) -> BootID? {
        guard let bytes = try files.read(path, limit: 4096) else { return nil }
        return BootID(String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines))
    }
}
