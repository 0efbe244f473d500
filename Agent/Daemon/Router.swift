import AgentReconcile
import ProtocolModel
import ProtocolTransfer
import Synchronization

/// Carries news between parts that are made one after another and know each other both ways.
final class Router: Sendable {
    private struct Parts {
        var link: ManagerLink?
        var usage: UsageService?
        var reconcile: ReconcileService?
    }

    private let parts = Mutex(Parts())

    func set(link: ManagerLink, usage: UsageService, reconcile: ReconcileService) {
        parts.withLock { $0 = Parts(link: link, usage: usage, reconcile: reconcile) }
    }

    var link: ManagerLink? { parts.withLock { $0.link } }
    var usage: UsageService? { parts.withLock { $0.usage } }

    /// News of an image: guests may wait for it, and the manager wants to know.
    func took(_ status: ImageStatusValue) {
        let (link, reconcile) = parts.withLock { ($0.link, $0.reconcile) }
        link?.report(status)
        switch status.state {
        case .held: reconcile?.post(.imageHeld(status.image))
        case .failed: reconcile?.post(.imageMissing(status.image, reason: status.reason))
        case .removed: reconcile?.post(.imageMissing(status.image, reason: "the image was removed from this host"))
        case .fetching: break
        }
    }
}
