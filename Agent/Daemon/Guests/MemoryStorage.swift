import AgentHypervisor
import AgentReconcile
import ProtocolModel
import Synchronization

/// Files of guests that only pretend (`hypervisor.uri: memory:`).
final class MemoryStorage: InstanceStorage {
    private let disks = Mutex<Set<InstanceID>>([])

    func paths(of instance: InstanceID) -> InstancePaths {
        InstancePaths(disk: "", diskFormat: .qcow2, diskIsIndependent: false, seed: "", consoleLog: "")
    }

    func makeFiles(_ assignment: Assignment, image: String?) async throws(ActionFailure) -> Bool {
        disks.withLock { _ = $0.insert(assignment.instance) }
        return false
    }

    func remove(_ instance: InstanceID) async throws(ActionFailure) {
        disks.withLock { _ = $0.remove(instance) }
    }

    func instancesWithDisks() async throws(ActionFailure) -> (all: Set<InstanceID>, independent: Set<InstanceID>) {
        (disks.withLock { $0 }, [])
    }
}

/// Addresses of guests that only pretend.
struct MemoryAddresses: GuestAddresses {
    let network: String
    func learn(_ change: AssignmentChange) {}
    func prepare() async throws(ActionFailure) {}
    func reserve(_ assignment: Assignment) async throws(ActionFailure) {}
    func release(_ instance: InstanceID) async throws(ActionFailure) {}
}
