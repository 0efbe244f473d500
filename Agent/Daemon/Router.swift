import AgentReconcile
import ProtocolModel
import ProtocolTransfer
import Synchronization

/// Carries news between parts that are made one after another and know each other both ways.
final class Router: Sendable {
    private struct Parts {
        var link: ManagerLink?
        var usage: UsageService?
        var captures: CaptureService?
    }

    private let parts = Mutex(Parts())

    func set(link: ManagerLink?, usage: UsageService, captures: CaptureService?) {
        parts.withLock { $0 = Parts(link: link, usage: usage, captures: captures) }
    }

    var link: ManagerLink? { parts.withLock { $0.link } }
    var usage: UsageService? { parts.withLock { $0.usage } }
    var captures: CaptureService? { parts.withLock { $0.captures } }

    func took(_ status: ImageStatusValue) { link?.report(status) }
}
