import Synchronization

/// Tells whoever does something to a device, on a thread of its own, that nobody waits for it any more: it is looked at before
/// anything is written, so that what hung and goes on later does not meddle with what was begun since.
public final class Abandonment: Sendable {
    private let flag = Atomic(false)

    public init() {}

    public var isAbandoned: Bool { flag.load(ordering: .acquiring) }

    public func abandon() { flag.store(true, ordering: .releasing) }

    /// - Throws: where nobody waits.
    func check() throws(DeviceProblem) {
        guard !isAbandoned else { throw DeviceProblem(description: "it was given up, since it took too long") }
    }
}
