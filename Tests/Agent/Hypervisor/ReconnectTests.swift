import Foundation
import ProtocolModel
import Testing
import TestsSupportWaiting

@testable import AgentHypervisor

@Suite("A libvirtd that dies", .tags(.libvirt), .enabled(if: LiveLibvirt.isWanted))
struct ReconnectTests {
    @Test("is missed, leaves its guest alone (P5), and is found again with it")
    func death() async throws {
        let folder = "/var/tmp/roost-test-daemon-\(UInt16.random(in: 0...UInt16.max))"
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o711])
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let daemon = try PrivateLibvirtd(folder: folder)
        var emulator: pid_t?
        do {
            try await daemon.start()
            try await LiveLibvirt.with(uri: daemon.uri) { live in
                emulator = try await check(live, daemon)
            }
        } catch {
            if let emulator { kill(emulator, SIGKILL) }
            try await daemon.kill()
            throw error
        }
        try await daemon.kill()
    }

    /// With calls that share a connection, libvirt's client ends the process here.
    @Test(
        "that hangs is given up, and is found again when it goes on, whatever was asked meanwhile",
        .timeLimit(.minutes(3)))
    func hang() async throws {
        let folder = "/var/tmp/roost-test-daemon-\(UInt16.random(in: 0...UInt16.max))"
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o711])
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let daemon = try PrivateLibvirtd(folder: folder)
        try await daemon.start()
        let channel = LibvirtHypervisor(uri: daemon.uri, node: LiveLibvirt.node)
        let heard = Recorder()
        let listening = Task { for await event in channel.events { heard.add(event) } }
        defer { listening.cancel() }
        _ = try await channel.domains()
        try daemon.hang()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<3 { group.addTask { _ = try? await channel.domains() } }
            // Its connections are given up after 15 s.
            try? await eventually("the loss is told") { heard.has(.connectionLost) }
            for _ in 0..<3 { group.addTask { _ = try? await channel.statistics() } }
            try? daemon.goOn()
            await group.waitForAll()
        }
        #expect(try await channel.domains().isEmpty)
        try await eventually("the new connection is told") { heard.count(.connectionRestored) == 2 }
        try await daemon.kill()
    }

    private func check(_ live: LiveLibvirt, _ daemon: PrivateLibvirtd) async throws -> pid_t {
        let hypervisor = live.hypervisor
        let heard = Recorder()
        let listening = Task { for await event in hypervisor.events { heard.add(event) } }
        defer { listening.cancel() }
        let specification = try await live.specification(Sector.idle)
        try await hypervisor.start(specification)
        let emulator = try emulatorProcess(specification.instance)
        try await eventually("the first connection is told") { heard.count(.connectionRestored) == 1 }

        try await daemon.kill()
        try await eventually("the loss is told") { heard.has(.connectionLost) }
        do throws(HypervisorError) {
            _ = try await hypervisor.domains()
            Issue.record("a dead libvirtd answered")
        } catch {
            guard case .unreachable = error else {
                Issue.record("\(error)")
                return emulator
            }
        }
        #expect(kill(emulator, 0) == 0)

        try await daemon.start()
        let domains = try await hypervisor.domains()
        #expect(domains.map(\.instance) == [specification.instance])
        #expect(domains.map(\.state) == [.running])
        #expect(domains.map(\.startedAt) == [specification.startedAt])
        #expect(try emulatorProcess(specification.instance) == emulator)
        try await eventually("the new connection is told") { heard.count(.connectionRestored) == 2 }

        // A libvirtd that has just begun tells of its guests before it has their monitors again. One that ends in that moment
        // ends without an event (the agent finds it at its next survey), and counters come by way of the monitor.
        try await eventually("libvirtd has its guest's monitor again") {
            try await hypervisor.statistics().map(\.instance) == [specification.instance]
        }
        // Events come over the new connection, too.
        kill(emulator, SIGKILL)
        try await eventually("the crash is told") { heard.has(.stopped(specification.instance, .crashed)) }
        try await hypervisor.remove(specification.instance)
        return emulator
    }
}
