@testable import AgentDaemon
@testable import AgentLink
import AgentReconcile
import Foundation
import Logging
import ProtocolMessages
import ProtocolModel
import Synchronization
import Testing
import TestsSupportWaiting
import TestsSupportAssignments

@Suite("The service around the reconciler")
struct ReconcileServiceTests {
    final class Reports: Sendable {
        let statuses = Mutex<[InstanceID: Status]>([:])
        let stops = Mutex<[InstanceID]>([])
        let answers = Mutex(true)
        func state(_ id: InstanceID) -> Status.State? { statuses.withLock { $0[id]?.state } }
    }

    static func service(_ host: FakeGuestHost, _ reports: Reports) -> ReconcileService {
        ReconcileService(
            reconciler: Reconciler(seed: 1), host: host,
            probes: ReadinessProbes(interval: .milliseconds(5)) { _ in reports.answers.withLock { $0 } },
            time: SystemTime(), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            report: { full, statuses in
                reports.statuses.withLock { held in
                    if full { held = [:] }
                    for status in statuses { held[status.instance] = status }
                }
            }, stopped: { id in reports.stops.withLock { $0.append(id) } })
    }

    @Test("a wanted guest runs and answers, crashes and comes back, and is deleted without a trace")
    func life() async throws {
        let host = FakeGuestHost()
        let reports = Reports()
        let service = Self.service(host, reports)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await service.run() }
            service.post(.sessionStarted)
            service.post(.imageHeld(someImage))
            service.post(.assigned(.full([try Assignment(instanceMessage(firstInstance))])))
            try await eventually { reports.state(firstInstance) == .running }
            #expect(service.figures.runningDomains == 1)
            #expect(service.figures.imagesInUse == [someImage])
            host.crash(firstInstance)
            try await eventually {
                host.state.withLock { $0.done.count { if case .start = $0 { true } else { false } } } == 2
            }
            #expect(reports.stops.withLock { $0 } == [firstInstance])
            try await eventually { reports.state(firstInstance) == .running }
            service.post(.assigned(.full([try Assignment(instanceMessage(firstInstance, .deleted, generation: 2))])))
            try await eventually { reports.state(firstInstance) == .deleted }
            #expect(host.state.withLock { $0.domains.isEmpty && $0.disks.isEmpty })
            group.cancelAll()
        }
    }

    @Test("a hypervisor that is away is waited for, and no guest is started before it was seen")
    func away() async throws {
        let host = FakeGuestHost()
        host.state.withLock { $0.isAway = true }
        let reports = Reports()
        let service = Self.service(host, reports)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await service.run() }
            service.post(.imageHeld(someImage))
            service.post(.sessionStarted)
            service.post(.assigned(.full([try Assignment(instanceMessage(firstInstance))])))
            try await Task.sleep(for: .milliseconds(50))
            #expect(host.state.withLock { $0.done.isEmpty })
            host.state.withLock { $0.isAway = false }
            try await eventually { reports.state(firstInstance) == .running }
            group.cancelAll()
        }
    }

    @Test("a guest that does not answer is asked until somebody ends it")
    func endedProbe() async throws {
        let host = FakeGuestHost()
        let reports = Reports()
        reports.answers.withLock { $0 = false }
        let service = Self.service(host, reports)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await service.run() }
            service.post(.sessionStarted)
            service.post(.imageHeld(someImage))
            service.post(.assigned(.full([try Assignment(instanceMessage(firstInstance))])))
            try await eventually { reports.state(firstInstance) == .starting }
            service.post(.assigned(.full([try Assignment(instanceMessage(firstInstance, .stopped, generation: 2))])))
            try await eventually { reports.state(firstInstance) == .stopped }
            reports.answers.withLock { $0 = true }
            #expect(host.state.withLock { $0.domains.isEmpty })
            group.cancelAll()
        }
    }
}
