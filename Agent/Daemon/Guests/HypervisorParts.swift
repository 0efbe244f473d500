import Logging
import ProtocolModel

extension HostParts {
    static func open(
        _ settings: AgentSettings, imagePath: @escaping @Sendable (ImageID) -> String?, logger: Logger
    ) async throws -> HostParts {
        throw AgentProblem.hypervisor("no hypervisor")
    }
}
