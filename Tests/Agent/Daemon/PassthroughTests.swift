import AgentManagers
import Foundation
import ProtocolMessages
import ProtocolModel
import SwiftProtobuf
import Synchronization
import Testing
import TestsSupportAssignments
import TestsSupportWaiting

@testable import AgentDaemon
@testable import AgentDevices

/// A device of this machine goes to guests of this machine, by libvirt and VFIO, with the agent's own program. The machine is one
/// that `Tests/Passthrough/run` makes for it: with an IOMMU, an NVMe controller to spare, and nobody else on it.
@Suite(
    "A device on its way through guests", .serialized,
    .enabled(if: ProcessInfo.processInfo.environment["PASSTHROUGH_AGENT"] != nil))
struct PassthroughTests {
    static let third = InstanceID("01900000-0000-7000-8000-000000000003")!

    /// A guest that looks for an NVMe controller of QEMU (1b36:0010) on its first 32 buses, by ports 0xcf8 and 0xcfc, and says on
    /// its serial port what it found.
    static let sector: [UInt8] = {
        let program: [UInt8] = [
            0xFC,  // cld
            0x31, 0xC0,  // xor ax, ax
            0x8E, 0xD8,  // mov ds, ax
            0x66, 0xBB, 0x00, 0x00, 0x00, 0x80,  // mov ebx, 0x80000000
            0x66, 0x89, 0xD8,  // next: mov eax, ebx
            0xBA, 0xF8, 0x0C,  // mov dx, 0xcf8
            0x66, 0xEF,  // out dx, eax
            0xBA, 0xFC, 0x0C,  // mov dx, 0xcfc
            0x66, 0xED,  // in eax, dx
            0x66, 0x3D, 0x36, 0x1B, 0x10, 0x00,  // cmp eax, 0x00101b36
            0x74, 0x15,  // je seen
            0x66, 0x81, 0xC3, 0x00, 0x01, 0x00, 0x00,  // add ebx, 0x100
            0x66, 0x81, 0xFB, 0x00, 0x00, 0x20, 0x80,  // cmp ebx, 0x80200000
            0x72, 0xDB,  // jb next
            0xBE, 0x58, 0x7C,  // mov si, nothing
            0xEB, 0x03,  // jmp tell
            0xBE, 0x47, 0x7C,  // seen: mov si, found
            0xBA, 0xF8, 0x03,  // tell: mov dx, 0x3f8
            0xAC,  // again: lodsb
            0x84, 0xC0,  // test al, al
            0x74, 0x03,  // jz rest
            0xEE,  // out dx, al
            0xEB, 0xF8,  // jmp again
            0xFB, 0xF4, 0xEB, 0xFC,  // rest: sti; hlt; jmp rest
        ]
        let texts = Array("SEEN 1b36:0010\r\n\0NOTHING\r\n\0".utf8)
        let used = program + texts
        return used + [UInt8](repeating: 0, count: 510 - used.count) + [0x55, 0xAA]
    }()

    /// The agent's program and its manager, on this machine.
    final class Site: Sendable {
        let data = "/var/lib/roost-passthrough"
        let manager: TestManager
        let program: String

        init() throws {
            program = try #require(ProcessInfo.processInfo.environment["PASSTHROUGH_AGENT"])
            manager = try TestManager(
                content: PassthroughTests.sector + [UInt8](repeating: 0, count: (1 << 20) - 512))
            try? FileManager.default.removeItem(atPath: data)
            try FileManager.default.createDirectory(atPath: data, withIntermediateDirectories: true)
        }

        func enrol() throws {
            try IdentityFiles(data: data).save(
                try manager.identity(),
                manager: ManagerAddress(host: "127.0.0.1", port: manager.state.withLock { $0.agentPort }))
        }

        func start() throws -> Process {
            let process = Process()
            process.executableURL = URL(filePath: program)
            process.arguments = ["run", "--data", data]
            for setting in [
                "hypervisor.accelerator=tcg", "devices.classes=0108", "chunks.host=127.0.0.1", "chunks.port=0",
            ] { process.arguments! += ["--set", setting] }
            try process.run()
            return process
        }

        func kill(_ process: Process) {
            Glibc.kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
        }

        func want(_ instance: InstanceID, _ desired: Roost_V1_DesiredState, _ generation: UInt64, _ device: String) {
            var message = instanceMessage(instance, desired, generation: generation)
            message.memoryBytes = 128 << 20
            message.diskBytes = 4 << 20
            let number = instance.description.suffix(1)
            message.name = "guest-\(number)"
            message.macAddress = "52:54:00:00:00:0\(number)"
            message.ipAddress = "192.168.177.1\(number)"
            message.readinessProbe = false
            message.stopTimeoutSeconds = 0
            message.devices = [
                .with {
                    $0.address = device
                    $0.alias = "disk"
                }
            ]
            manager.want([message])
        }

        func console(_ instance: InstanceID) -> String {
            (try? String(contentsOfFile: "\(data)/instances/\(instance)/console.log", encoding: .utf8)) ?? ""
        }

        func status(_ instance: InstanceID) -> Roost_V1_InstanceStatus? {
            manager.state.withLock { $0.statuses[instance] }
        }

        var told: Roost_V1_PCIDevice? { manager.state.withLock { $0.inventories.last?.pciDevices.first } }
        var kept: LedgerContent? { (try? LedgerFile(data: data).peek()) ?? nil }
    }

    static func device() throws -> String {
        let disks = try PCIScanner().scan().filter { $0.id == "1b36:0010" }
        return try #require(disks.first).address
    }

    static func driver(_ address: String) -> String? { PCIScanner().device(address)?.driver }

    /// The process that runs a guest.
    static func emulator(_ instance: InstanceID) -> String? {
        try? String(contentsOfFile: "/run/libvirt/qemu/roost-\(instance).pid", encoding: .utf8)
    }

    private func withManager(_ body: (Site) async throws -> Void) async throws {
        let site = try Site()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await site.manager.run() }
            try await eventually { site.manager.state.withLock { $0.agentPort } != 0 }
            try site.enrol()
            do {
                try await body(site)
            } catch {
                group.cancelAll()
                throw error
            }
            group.cancelAll()
        }
    }

    private let patience = Duration.seconds(400)

    @Test("a guest sees it, a second is refused, a killed agent loses none of it, and its end gives it back")
    func life() async throws {
        let device = try Self.device()
        #expect(Self.driver(device) == "nvme")
        try await withManager { site in
            var agent = try site.start()
            defer { site.kill(agent) }
            try await eventually("told", within: patience) {
                site.told?.address == device && site.told?.isUsable == true
            }
            site.want(firstInstance, .running, 1, device)
            try await eventually("the guest sees it", within: patience) {
                site.console(firstInstance).contains("SEEN 1b36:0010")
            }
            try await eventually("it is told", within: patience) {
                site.status(firstInstance)?.devices == [device] && site.told?.heldBy == firstInstance.bytes
            }
            #expect(Self.driver(device) == "vfio-pci")

            site.want(secondInstance, .running, 1, device)
            try await eventually("the second is refused", within: patience) {
                site.status(secondInstance)?.failureFinal == true
            }
            #expect(site.status(secondInstance)?.reasonCode == "device_refused")
            #expect(
                site.status(secondInstance)?.reason
                    == "device \(device) belongs to instance \(firstInstance) (placement 1)")

            let guest = try #require(Self.emulator(firstInstance))
            let sessions = site.manager.state.withLock { $0.sessions }
            site.kill(agent)
            agent = try site.start()
            try await eventually("the next agent is back", within: patience) {
                site.manager.state.withLock { $0.sessions } > sessions
                    && site.status(firstInstance)?.devices == [device]
            }
            #expect(Self.emulator(firstInstance) == guest)
            #expect(site.kept?.holds.map(\.claim?.instance) == [firstInstance])

            site.want(secondInstance, .deleted, 2, device)
            try await eventually("the second is gone", within: patience) {
                site.manager.observed(secondInstance) == .deleted
            }
            site.want(firstInstance, .stopped, 2, device)
            try await eventually("the first is stopped", within: patience) {
                site.manager.observed(firstInstance) == .stopped
            }
            #expect(site.kept == LedgerContent())
            #expect(Self.driver(device) == "nvme")

            // The next one finds it as the first did.
            site.want(Self.third, .running, 1, device)
            try await eventually("the next sees it", within: patience) {
                site.console(Self.third).contains("SEEN 1b36:0010")
            }
            site.want(Self.third, .deleted, 2, device)
            try await eventually("all is given back", within: patience) {
                site.manager.observed(Self.third) == .deleted
            }
            #expect(site.kept == LedgerContent() && Self.driver(device) == "nvme")
        }
    }

    @Test("killed at any moment of a start or a stop, the agent leaks nothing")
    func killed() async throws {
        let device = try Self.device()
        try await withManager { site in
            var agent = try site.start()
            defer { site.kill(agent) }
            var generation: UInt64 = 0
            for moment in [100, 400, 900, 1600, 2500] {
                generation += 1
                site.want(firstInstance, .running, generation, device)
                // From when the agent has begun with it, however busy the machine is.
                try await eventually("claimed", within: patience) { site.kept?.holds.isEmpty == false }
                try await Task.sleep(for: .milliseconds(moment))
                site.kill(agent)
                agent = try site.start()
                if moment > 1000 {
                    try await eventually("runs", within: patience) { site.manager.observed(firstInstance) == .running }
                    generation += 1
                    site.want(firstInstance, .stopped, generation, device)
                    try await Task.sleep(for: .milliseconds(moment / 4))
                    site.kill(agent)
                    agent = try site.start()
                }
                generation += 1
                site.want(firstInstance, .deleted, generation, device)
                try await eventually("deleted", within: patience) {
                    site.manager.observed(firstInstance) == .deleted
                        && site.status(firstInstance)?.generation == generation
                }
                try await eventually("free", within: patience) { site.kept == LedgerContent() }
                #expect(Self.driver(device) == "nvme")
            }
        }
    }
}
