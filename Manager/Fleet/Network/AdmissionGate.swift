import Synchronization

/// Bounds the connections that have not shown who they are (P10).
///
/// After a restart of the manager a whole fleet dials at once. Accepting all of them would let every handshake time out
/// together; so only some are taken out of the kernel's queue at a time, and the rest wait there. One address may hold
/// only a share, so that a single host that says nothing cannot keep the others waiting.
final class AdmissionGate: Sendable {
    private struct State {
        var pending = 0
        var byAddress: [String: Int] = [:]
        var resume: (@Sendable () -> Void)?
    }

    private let total: Int
    private let perAddress: Int
    private let state = Mutex(State())

    init(total: Int, perAddress: Int) {
        self.total = total
        self.perAddress = perAddress
    }

    /// Whether more may be accepted now; if not, `resume` is called once when that changes.
    func mayAccept(orResume resume: @escaping @Sendable () -> Void) -> Bool {
        state.withLock { state in
            if state.pending < total { return true }
            state.resume = resume
            return false
        }
    }

    /// Takes a place; `false` where the address holds its share already.
    func enter(_ address: String) -> Bool {
        state.withLock { state in
            guard state.byAddress[address, default: 0] < perAddress else { return false }
            state.pending += 1
            state.byAddress[address, default: 0] += 1
            return true
        }
    }

    /// Gives a place back.
    func leave(_ address: String) {
        let resume: (@Sendable () -> Void)? = state.withLock { state in
            state.pending -= 1
            let left = state.byAddress[address, default: 1] - 1
            state.byAddress[address] = left == 0 ? nil : left
            guard state.pending < total else { return nil }
            defer { state.resume = nil }
            return state.resume
        }
        resume?()
    }

    var pending: Int { state.withLock { $0.pending } }
}
