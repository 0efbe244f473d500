import Dispatch
import Foundation
import ManagerModel
import ManagerStore
import Synchronization
import Testing
import TestsSupportWaiting

@Suite("Writes that must not wait", .timeLimit(.minutes(1)))
struct UrgentWriteTests {
    private final class Log: Sendable {
        let begun = Mutex<Set<String>>([])
        let order = Mutex<[String]>([])
    }

    /// A lease that is renewed behind a long queue on a slow disk would be lost for no reason.
    @Test("an urgent write waits for the batch under way, not for those that wait with it")
    func goesFirst() async throws {
        let folder = FileManager.default.temporaryDirectory.path + "/roost-urgent-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var patience = StorePatience()
        // Each write is a batch of its own, as where each takes long.
        patience.batch = .zero
        let store = try Store(.file(folder + "/roost.sqlite"), patience: patience)
        defer { store.close() }
        let log = Log()
        let gates = [DispatchSemaphore(value: 0), DispatchSemaphore(value: 0)]
        func add(
            _ name: String, gate: DispatchSemaphore? = nil, isUrgent: Bool = false,
            to group: inout ThrowingTaskGroup<Void, any Error>
        ) {
            group.addTask {
                try await store.write(isUrgent: isUrgent) { sql in
                    log.begun.withLock { _ = $0.insert(name) }
                    gate?.wait()
                    try sql.siteSettings.set(name, "")
                    log.order.withLock { $0.append(name) }
                }
            }
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            // While the writing thread stands in the first, others come, and it takes them all at once.
            add("first", gate: gates[0], to: &group)
            try await eventually("the first is under way") { log.begun.withLock { $0.contains("first") } }
            for index in 0..<4 {
                add("usual\(index)", gate: index == 0 ? gates[1] : nil, to: &group)
                try await eventually("it waits") { store.waitingWrites == index + 1 }
            }
            gates[0].signal()
            try await eventually("they are taken") { store.waitingWrites == 0 }
            add("urgent", isUrgent: true, to: &group)
            try await eventually("it has come") { store.waitingWrites == 1 }
            gates[1].signal()
            try await group.waitForAll()
        }
        #expect(log.order.withLock { $0 } == ["first", "usual0", "urgent", "usual1", "usual2", "usual3"])
    }
}
