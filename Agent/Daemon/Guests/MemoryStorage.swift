import AgentHypervisor
import AgentReconcile
import ProtocolModel
import Synchronization

/// Files of guests that only pretend (`hypervisor.uri: memory:`).
final class MemoryStorage: InstanceStorage {
    private let disks = Mutex<Set<InstanceID>>([])

    func parts(of assignment: Assignment) -> (disk: BootDisk, seed: String?, consoleLog: String?) {
        (BootDisk(path: "/nonexistent/\(assignment.instance)", format: .qcow2), nil, nil)
    }

    func createDisk(_ assignment: Assignment, image: String) async throws(ActionFailure) {
        disks.withLock { _ = $0.insert(assignment.instance) }
    }

    func writeSeed(_ assignment: Assignment) async throws(ActionFailure) {}

    func remove(_ instance: InstanceID) async throws(ActionFailure) {
        disks.withLock { _ = $0.remove(instance) }
    }

    func instancesWithDisks() async throws(ActionFailure) -> Set<InstanceID> { disks.withLock { $0 } }
}

/// Guests without a network card.
struct NoAddresses: GuestAddresses {
    var network: String? { nil }
    func reserve(_ assignment: Assignment) async throws(ActionFailure) {}
    func release(_ instance: InstanceID) async throws(ActionFailure) {}
}
