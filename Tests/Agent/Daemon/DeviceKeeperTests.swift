import AgentHypervisor
@testable import AgentLink
import AgentReconcile
import Foundation
import Logging
import ProtocolModel
import Synchronization
import Testing
import TestsSupportAssignments
import TestsSupportWaiting

@testable import AgentDaemon
@testable import AgentDevices

@Suite("devices and the guests that have them")
struct DeviceKeeperTests {
    static let gpu = "0000:01:00.0"
    static let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// Notes what is done to devices, and what was on the disk then.
    final class Actions: DeviceActions {
        struct State {
            var done: [String] = []
            var keptAtBind: LedgerContent?
            var failure: String?
            /// Of those that hung, how many were told that nobody waits.
            var abandoned = 0
        }

        let state = Mutex(State())
        let file: LedgerFile
        /// Held down by a test for as long as a device is to hang.
        let hang = Mutex(false)

        init(_ file: LedgerFile) { self.file = file }

        func prepare() async throws(DeviceProblem) {}

        func bind(_ addresses: [String], _ abandonment: Abandonment) throws(DeviceProblem) {
            let kept = try? file.peek()
            state.withLock {
                $0.keptAtBind = kept
                $0.done.append("bind \(addresses.joined(separator: " "))")
            }
        }

        func reset(_ address: String, _ abandonment: Abandonment) throws(DeviceProblem) {
            while hang.withLock({ $0 }) { Thread.sleep(forTimeInterval: 0.01) }
            if abandonment.isAbandoned { state.withLock { $0.abandoned += 1 } }
            state.withLock { $0.done.append("reset \(address)") }
            if let failure = state.withLock({ $0.failure }) { throw DeviceProblem(description: failure) }
        }

        func verify(_ address: String) throws(DeviceProblem) { state.withLock { $0.done.append("verify \(address)") } }
        func giveBack(_ address: String, _ abandonment: Abandonment) throws(DeviceProblem) {
            state.withLock { $0.done.append("return \(address)") }
        }

        var done: [String] { state.withLock { $0.done } }
    }

    /// A host with a GPU, whose guests are a table's entries: all else is as on a real one.
    final class Site: Sendable {
        let folder = NSTemporaryDirectory() + "roost-keeper-\(UUID().uuidString)"
        let sysfs: DeviceListTests.Sysfs
        let hypervisor = MemoryHypervisor()
        let actions: Actions

        init() throws {
            sysfs = try DeviceListTests.Sysfs()
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            actions = Actions(LedgerFile(data: folder))
            try sysfs.plug(DeviceKeeperTests.gpu)
        }

        deinit { try? FileManager.default.removeItem(atPath: folder) }

        func keeper(_ policy: DeviceDeskPolicy = DeviceDeskPolicy()) throws -> DeviceKeeper {
            try DeviceKeeper(
                DeviceKeeper.Parts(
                    survey: sysfs.list.survey, file: LedgerFile(data: folder), actions: actions,
                    uses: { [hypervisor] () async throws(ActionFailure) in
                        try await DeviceKeeper.uses(of: hypervisor)
                    }, wishes: ReadmissionWishes(data: folder)), policy: policy, time: SystemTime(),
                logger: DeviceKeeperTests.silent)
        }

        func guests(_ keeper: DeviceKeeper) -> HypervisorGuests {
            HypervisorGuests(
                hypervisor: hypervisor, storage: MemoryStorage(), addresses: MemoryAddresses(network: "roost"),
                devices: keeper, accelerator: { .tcg }, emulator: nil, imagePath: { _ in "/image" }, time: SystemTime(),
                logger: DeviceKeeperTests.silent)
        }

        var kept: LedgerContent? { (try? LedgerFile(data: folder).peek()) ?? nil }
    }

    static func assignment(
        _ instance: InstanceID, _ addresses: [String] = [gpu], _ change: (inout Assignment) -> Void = { _ in }
    ) throws -> Assignment {
        var assignment = try Assignment(instanceMessage(instance))
        assignment.guest.devices = addresses.map { AssignedDevice(address: $0, alias: "gpu") }
        change(&assignment)
        return assignment
    }

    private func withKeeper(
        _ site: Site, _ policy: DeviceDeskPolicy = DeviceDeskPolicy(),
        _ body: (DeviceKeeper, HypervisorGuests) async throws -> Void
    ) async throws {
        let keeper = try site.keeper(policy)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await keeper.run() }
            group.addTask { await site.guests(keeper).watch { _ in } }
            do {
                try await body(keeper, site.guests(keeper))
            } catch {
                group.cancelAll()
                throw error
            }
            group.cancelAll()
        }
    }

    @Test("a claim is on the disk before the device is bound, and the domain has the device")
    func start() async throws {
        let site = try Site()
        try await withKeeper(site) { keeper, guests in
            #expect(await guests.perform(.start(try Self.assignment(firstInstance))) == .succeeded)
            let claim = DeviceClaim(instance: firstInstance, epoch: Epoch(1))
            #expect(site.actions.state.withLock { $0.keptAtBind }?.holds.map(\.claim) == [claim])
            let owners = try await site.hypervisor.deviceOwners()
            #expect(owners.map(\.owner) == [.instance(firstInstance, Epoch(1))])
            #expect(owners.first?.devices.map(\.description) == [Self.gpu])
            try await eventually { site.kept?.holds.first?.state == .attached }
            #expect(keeper.standings[Self.gpu]?.claim == claim)
            #expect(try await guests.survey().domains[firstInstance]?.devices == [Self.gpu])
        }
    }

    @Test("a second claim fails for good, with whose the device is, and starts nothing")
    func conflict() async throws {
        let site = try Site()
        try await withKeeper(site) { _, guests in
            _ = await guests.perform(.start(try Self.assignment(firstInstance)))
            let outcome = await guests.perform(.start(try Self.assignment(secondInstance)))
            #expect(
                outcome
                    == .failed(
                        ActionFailure(
                            code: "device_refused",
                            sentence: "device \(Self.gpu) belongs to instance \(firstInstance) (placement 1)",
                            isLasting: true)))
            #expect(try await site.hypervisor.domains().map(\.instance) == [firstInstance])
        }
    }

    @Test("a domain is removed only with its devices reset, verified and given back")
    func removal() async throws {
        let site = try Site()
        try await withKeeper(site) { keeper, guests in
            _ = await guests.perform(.start(try Self.assignment(firstInstance)))
            _ = await guests.perform(.powerOff(firstInstance))
            #expect(await guests.perform(.removeDomain(firstInstance)) == .succeeded)
            #expect(
                site.actions.done == [
                    "bind \(Self.gpu)", "reset \(Self.gpu)", "verify \(Self.gpu)", "return \(Self.gpu)",
                ])
            #expect(keeper.standings.isEmpty && site.kept == LedgerContent())
            #expect(await guests.perform(.start(try Self.assignment(secondInstance))) == .succeeded)
        }
    }

    @Test("a guest that crashes, or shuts itself down, leaves no device behind")
    func crash() async throws {
        let site = try Site()
        try await withKeeper(site) { keeper, guests in
            for reason in [DomainState.Reason.crashed, .guestShutdown] {
                #expect(await guests.perform(.start(try Self.assignment(firstInstance))) == .succeeded)
                try site.hypervisor.stop(firstInstance, reason)
                try await eventually { keeper.standings.isEmpty }
                #expect(site.actions.done.last == "return \(Self.gpu)")
            }
        }
    }

    @Test("a start that fails gives its devices back")
    func failedStart() async throws {
        let site = try Site()
        try await withKeeper(site) { keeper, guests in
            let running = try Self.assignment(firstInstance, [])
            #expect(await guests.perform(.start(running)) == .succeeded)
            guard case .failed(let failure) = await guests.perform(.start(try Self.assignment(firstInstance))) else {
                Issue.record("a running domain was started again")
                return
            }
            #expect(failure.code == "domain_runs")
            try await eventually { keeper.standings.isEmpty }
            #expect(site.actions.done.last == "return \(Self.gpu)")
        }
    }

    @Test("killed in between, the next agent cleans what no domain has, and leaves a guest its own")
    func killed() async throws {
        let site = try Site()
        try site.sysfs.plug("0000:02:00.0", group: 8)
        try await withKeeper(site) { keeper, guests in
            _ = await guests.perform(.start(try Self.assignment(firstInstance)))
            // Killed between the claim and the domain.
            _ = try await keeper.claim(
                DeviceClaim(instance: secondInstance, epoch: Epoch(1)), ["0000:02:00.0"])
        }
        #expect(site.kept?.holds.count == 2)
        site.actions.state.withLock { $0.done = [] }
        try await withKeeper(site) { keeper, guests in
            try await eventually { keeper.standings["0000:02:00.0"] == nil }
            #expect(keeper.standings[Self.gpu]?.claim?.instance == firstInstance)
            #expect(site.actions.done.allSatisfy { !$0.contains(Self.gpu) })
            #expect(site.actions.done.last == "return 0000:02:00.0")
            guard case .failed = await guests.perform(.start(try Self.assignment(secondInstance))) else {
                Issue.record("a device was given away twice")
                return
            }
        }
    }

    @Test("a device whose reset fails or hangs is out of service, ends no wait, and comes back when a person says so")
    func quarantine() async throws {
        let site = try Site()
        var policy = DeviceDeskPolicy()
        policy.resetLimit = .milliseconds(50)
        policy.lookInterval = .milliseconds(20)
        try await withKeeper(site, policy) { keeper, guests in
            _ = await guests.perform(.start(try Self.assignment(firstInstance)))
            site.actions.hang.withLock { $0 = true }
            defer { site.actions.hang.withLock { $0 = false } }
            _ = await guests.perform(.powerOff(firstInstance))
            #expect(await guests.perform(.removeDomain(firstInstance)) == .succeeded)
            #expect(site.kept?.quarantine[Self.gpu]?.reason.hasPrefix("its reset did not end within") == true)
            guard case .failed(let failure) = await guests.perform(.start(try Self.assignment(secondInstance))) else {
                Issue.record("a device that is out of service was given away")
                return
            }
            #expect(failure.isLasting && failure.sentence.hasPrefix("device \(Self.gpu) is out of service: its reset"))
            site.actions.hang.withLock { $0 = false }
            // Where a busy machine does not reset it within the limit either, the person says so again.
            try await eventually {
                if keeper.standings[Self.gpu]?.quarantine != nil {
                    try? ReadmissionWishes(data: site.folder).add(Self.gpu)
                }
                return keeper.standings.isEmpty
            }
            try await eventually { site.actions.state.withLock { $0.abandoned } > 0 }
            #expect(await guests.perform(.start(try Self.assignment(secondInstance))) == .succeeded)
        }
    }

    @Test("news of devices are told as they come")
    func news() async throws {
        let site = try Site()
        var policy = DeviceDeskPolicy()
        policy.lookInterval = .milliseconds(20)
        let told = Mutex(0)
        try await withKeeper(site, policy) { keeper, guests in
            keeper.whenChanged { told.withLock { $0 += 1 } }
            _ = await guests.perform(.start(try Self.assignment(firstInstance)))
            let before = told.withLock { $0 }
            #expect(before > 0)
            try site.sysfs.plug("0000:02:00.0", group: 8)
            try await eventually { told.withLock { $0 } > before }
        }
    }
}
