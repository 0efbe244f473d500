import AgentReconcile
import ProtocolModel
import ProtocolTransfer
import Synchronization

/// Carries news between parts that are made one after another and know each other both ways.
final class Router: Sendable {
    private struct Parts {
        var link: ManagerLink?
        var usage: UsageService?
    }

    private let parts = Mutex(Parts())

    func set(link: ManagerLink, usage: UsageService) {
        parts.withLock { $0 = Parts(link: link, usage: usage) }
    }

    var link: ManagerLink? { parts.withLock { $0.link } }
    var usage: UsageService? { parts.withLock { $0.usage } }

    func took(_ status: ImageStatusValue) { link?.report(status) }
}
