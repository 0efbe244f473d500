import AgentDevices
import Foundation

/// What a person on the host asks the agent for: devices that are to be let back into service, each an empty file of its
/// name. Kept until the agent runs.
struct ReadmissionWishes: Sendable {
    private let folder: String

    init(data: String) { folder = data + "/readmit" }

    func add(_ address: String) throws {
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        try Data().write(to: URL(filePath: folder + "/" + address))
    }

    /// Each is heard once.
    func take() -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        return names.sorted().filter { unlink(folder + "/" + $0) == 0 && PCIScanner.isAddress($0) }
    }
}
