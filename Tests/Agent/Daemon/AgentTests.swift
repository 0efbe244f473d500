@testable import AgentDaemon
import AgentDurability
import AgentReconcile
import AgentManagers
import AgentUplink
import Foundation
import ProcessSettings
import ProtocolMessages
import ProtocolModel
import ServiceLifecycle
import SwiftProtobuf
import Synchronization
import Testing
import TestsSupportWaiting
import TestsSupportAssignments
import TestsSupportFiles

/// Whole agents on loopback, with a manager that is played and a hypervisor that only pretends.
@Suite("An agent and its manager", .serialized)
struct AgentTests {
    /// A host that outlives its agents.
    struct Site {
        let folder = ScratchFolder()
        let host = FakeGuestHost()
        let manager: TestManager

        init() throws {
            manager = try TestManager()
        }

        func enrol() throws {
            let files = IdentityFiles(data: folder.path)
            try files.save(
                try manager.identity(),
                manager: ManagerAddress(host: "127.0.0.1", port: manager.state.withLock { $0.agentPort }))
        }

        func settings(_ assignments: [String] = []) throws -> AgentSettings {
            try AgentSettings(
                flags: SettingsFlags(
                    data: folder.path,
                    assignments: ["chunks.port=0", "chunks.host=127.0.0.1", "hypervisor.uri=memory:"] + assignments),
                environment: [:]
            )
        }

        var parts: HostParts {
            HostParts(
                guests: host, describe: { EngineDescription(accelerator: "tcg") }, ask: { _ in true }, devices: { [] })
        }

        /// - Parameter pretends: with the hypervisor of `memory:`, which ends with its agent.
        func agent(pretends: Bool = false, _ assignments: [String] = []) throws -> Agent {
            let settings = try settings(assignments)
            return try Agent(settings: settings, logger: silent) { node, boot, imagePath in
                if pretends {
                    return try HostParts.open(settings, node: node, boot: boot, imagePath: imagePath, logger: silent)
                }
                return parts
            }
        }

        /// Runs an agent while `body` does.
        func withAgent(
            pretends: Bool = false, _ assignments: [String] = [], _ body: (Agent) async throws -> Void
        ) async throws {
            let agent = try agent(pretends: pretends, assignments)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for service in agent.services { group.addTask { try await service.run() } }
                do {
                    try await body(agent)
                } catch {
                    group.cancelAll()
                    throw error
                }
                group.cancelAll()
            }
        }

        func withManager(_ body: () async throws -> Void) async throws {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await manager.run() }
                try await eventually { manager.state.withLock { $0.agentPort } != 0 }
                try enrol()
                do {
                    try await body()
                } catch {
                    group.cancelAll()
                    throw error
                }
                group.cancelAll()
            }
        }
    }

    @Test("a guest is wanted, its image comes, it runs, its use is counted, it goes", .timeLimit(.minutes(2)))
    func life() async throws {
        let site = try Site()
        let manager = site.manager
        try await site.withManager {
            manager.want([instanceMessage(firstInstance)])
            try await site.withAgent { agent in
                try await eventually { manager.observed(firstInstance) == .running }
                #expect(manager.state.withLock { $0.inventories.first?.accelerator } == "tcg")
                #expect(
                    manager.state.withLock { $0.inventories.first?.chunkAddress } == "127.0.0.1:\(agent.chunks.port)")
                try await eventually { manager.state.withLock { $0.acknowledged } == 1 }
                try await eventually { manager.milliseconds(of: firstInstance) >= 300 }
                manager.want([instanceMessage(firstInstance, .stopped, generation: 2)])
                try await eventually { manager.observed(firstInstance) == .stopped }
                manager.want([instanceMessage(firstInstance, .deleted, generation: 3)])
                try await eventually { manager.observed(firstInstance) == .deleted }
                #expect(site.host.state.withLock { $0.domains.isEmpty && $0.disks.isEmpty })
                manager.want([], removing: [firstInstance])
                try await eventually { agent.link.appliedRevision == 4 }
            }
        }
    }

    @Test("an agent that comes back touches no guest and counts each second once (P4, P5)", .timeLimit(.minutes(2)))
    func restart() async throws {
        let site = try Site()
        let manager = site.manager
        try await site.withManager {
            manager.want([instanceMessage(firstInstance)])
            manager.state.withLock { $0.keepsSilentAboutUsage = true }
            try await site.withAgent { _ in
                try await eventually { manager.observed(firstInstance) == .running }
                try await eventually { manager.milliseconds(of: firstInstance) >= 200 }
            }
            let started = try #require(site.host.state.withLock { $0.domains[firstInstance]?.startedAt })
            let done = site.host.state.withLock { $0.done }
            manager.state.withLock { $0.keepsSilentAboutUsage = false }
            for _ in 0..<2 {
                try await site.withAgent { agent in
                    try await eventually { manager.observed(firstInstance) == .running }
                    let now = manager.milliseconds(of: firstInstance)
                    try await eventually { manager.milliseconds(of: firstInstance) >= now + 300 }
                    #expect(manager.state.withLock { $0.hellos.last?.appliedRevision } == 1)
                    _ = agent
                }
            }
            #expect(site.host.state.withLock { $0.done } == done)
            let ran = (SystemTime().timestamp - started).milliseconds
            let counted = manager.milliseconds(of: firstInstance)
            #expect(counted <= ran)
            #expect(counted >= ran - 1500)
            #expect(manager.state.withLock { $0.duplicates } > 0)
        }
    }

    @Test("the hypervisor that only pretends lives through a whole life too", .timeLimit(.minutes(2)))
    func pretending() async throws {
        let site = try Site()
        let manager = site.manager
        try await site.withManager {
            manager.want([instanceMessage(firstInstance)])
            try await site.withAgent(pretends: true) { _ in
                try await eventually { manager.observed(firstInstance) == .running }
                #expect(
                    manager.state.withLock { $0.inventories.first?.acceleratorReason.contains("simulated") } == true)
                manager.want([instanceMessage(firstInstance, generation: 2, cycle: 2)])
                try await eventually {
                    manager.state.withLock { state in
                        let status = state.statuses[firstInstance]
                        return status?.state == .running && status?.powerCycle == 2
                    }
                }
                try await eventually { manager.milliseconds(of: firstInstance) >= 300 }
                manager.want([instanceMessage(firstInstance, .deleted, generation: 3, cycle: 2)])
                try await eventually { manager.observed(firstInstance) == .deleted }
            }
        }
    }

    @Test("a device goes to one guest, and to the next once the first is gone", .timeLimit(.minutes(3)))
    func devices() async throws {
        let site = try Site()
        let manager = site.manager
        let sysfs = try DeviceListTests.Sysfs()
        try sysfs.plug("0000:01:00.0")
        func message(
            _ id: InstanceID, _ desired: Roost_V1_DesiredState = .running, generation: UInt64 = 1
        ) -> Roost_V1_InstanceAssignment {
            var message = instanceMessage(id, desired, generation: generation)
            message.devices = [.with { $0.address = "0000:01:00.0" }]
            return message
        }
        try await site.withManager {
            manager.want([message(firstInstance)])
            try await site.withAgent(pretends: true, ["devices.sysfs=\(sysfs.root)"]) { _ in
                try await eventually { manager.observed(firstInstance) == .running }
                #expect(manager.state.withLock { $0.statuses[firstInstance]?.devices } == ["0000:01:00.0"])
                #expect(manager.state.withLock { $0.inventories.first?.passesDevices } == true)
                // Told at once, not with the next look at the clock.
                try await eventually {
                    manager.state.withLock { $0.inventories.last?.pciDevices.first?.heldBy } == firstInstance.bytes
                }
                manager.want([message(secondInstance)])
                try await eventually { manager.observed(secondInstance) == .failed }
                let refused = manager.state.withLock { $0.statuses[secondInstance] }
                #expect(refused?.reasonCode == "device_refused" && refused?.failureFinal == true)
                #expect(
                    refused?.reason
                        == "device 0000:01:00.0 belongs to instance \(firstInstance) (placement 1)")
                manager.want([message(firstInstance, .deleted, generation: 2)])
                try await eventually { manager.observed(firstInstance) == .deleted }
                try await eventually { manager.observed(secondInstance) == .running }
            }
        }
    }

    @Test("without a manager the kept assignments bring the guests back", .timeLimit(.minutes(2)))
    func alone() async throws {
        let site = try Site()
        try await site.withManager {
            site.manager.want([
                instanceMessage(firstInstance), instanceMessage(secondInstance, .stopped),
            ])
            try await site.withAgent { _ in
                try await eventually { site.manager.observed(firstInstance) == .running }
            }
        }
        // The host loses power: its domains are gone, its disk is not.
        site.host.state.withLock { $0.domains = [:] }
        try Data("01900000-0000-7000-8000-00000000b009\n".utf8).write(
            to: URL(fileURLWithPath: site.folder.path + "/boot"))
        try await site.withAgent { _ in
            try await eventually { site.host.state.withLock { $0.domains[firstInstance]?.isRunning == true } }
            #expect(site.host.state.withLock { $0.domains[secondInstance] } == nil)
        }
    }

    @Test(
        "changes that do not follow from what is known end the session, and the next brings the whole set",
        .timeLimit(.minutes(2)))
    func resync() async throws {
        let site = try Site()
        let manager = site.manager
        try await site.withManager {
            manager.want([instanceMessage(firstInstance)])
            try await site.withAgent { _ in
                try await eventually { manager.observed(firstInstance) == .running }
                manager.sendNonsense()
                try await eventually { manager.state.withLock { $0.sessions } >= 2 }
                try await eventually { manager.observed(firstInstance) == .running }
                #expect(manager.state.withLock { $0.fullReports } >= 2)
                #expect(site.host.state.withLock { $0.domains[firstInstance]?.isRunning } == true)
            }
        }
    }

    @Test("a second agent on the same folder, and one that has not joined, are refused with a sentence")
    func refusals() throws {
        let site = try Site()
        #expect(throws: IdentityFiles.Problem.notJoined(folder: site.folder.path + "/identity")) { try site.agent() }
        let lock = try DataFolder.open(site.folder.path)
        #expect(throws: FolderLock.Failure.held(folder: site.folder.path)) { try site.agent() }
        withExtendedLifetime(lock) {}
    }
}
