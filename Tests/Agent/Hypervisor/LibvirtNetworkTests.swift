import Foundation
import Testing
import TestsSupportWaiting

@testable import AgentHypervisor

@Suite("The guests' network of a real libvirtd", .tags(.libvirt), .serialized, .enabled(if: LiveLibvirt.isWanted))
struct LibvirtNetworkTests {
    @Test("reservations are made, moved and ended, each as often as asked")
    func reservations() async throws {
        try await LiveLibvirt.with { live in
            let network = live.network
            let base = try await prefix(live)
            let (first, second) = ("52:54:00:00:00:01", "52:54:00:00:00:02")
            try await network.ensure()
            try await network.reserve(mac: first, address: base + "10")
            try await network.reserve(mac: first, address: base + "10")
            #expect(try await reserved(live) == ["\(first) \(base)10"])

            try await network.reserve(mac: first, address: base + "11")
            #expect(try await reserved(live) == ["\(first) \(base)11"])

            // Left over from an instance whose end this host did not see.
            try await network.reserve(mac: second, address: base + "11")
            #expect(try await reserved(live) == ["\(second) \(base)11"])

            try await network.release(mac: first, address: base + "11")
            #expect(try await reserved(live) == ["\(second) \(base)11"])
            try await network.release(mac: second, address: base + "11")
            try await network.release(mac: second, address: base + "11")
            #expect(try await reserved(live).isEmpty)
        }
    }

    @Test("a network of this name with another subnet is left alone")
    func conflict() async throws {
        try await LiveLibvirt.with { live in
            let other = LibvirtNetwork(
                live.hypervisor, name: live.network.name, bridge: "rtestother",
                subnet: try #require(LibvirtNetwork.Subnet("10.214.0.0/24")))
            do throws(HypervisorError) {
                try await other.ensure()
                Issue.record("another network was taken for ours")
            } catch {
                #expect(error.description.contains("another subnet"))
            }
        }
    }

    private func document(_ live: LiveLibvirt) async throws -> String {
        let name = live.network.name
        let path = live.folder + "/network.xml"
        // Written by a program of its own, so that what is read is libvirt's and not ours.
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/virsh")
        process.arguments = ["-q", "-c", LiveLibvirt.uri, "net-dumpxml", name]
        #expect(FileManager.default.createFile(atPath: path, contents: nil))
        process.standardOutput = try FileHandle(forWritingTo: URL(filePath: path))
        try process.run()
        try await eventually("virsh ends") { !process.isRunning }
        return try String(contentsOfFile: path, encoding: .utf8)
    }

    private func reserved(_ live: LiveLibvirt) async throws -> [String] {
        NetworkReservations.read(try await document(live)).map { "\($0.mac) \($0.address)" }
    }

    private func prefix(_ live: LiveLibvirt) async throws -> String {
        let found = try await document(live).firstMatch(of: /address='(10\.213\.\d+\.)1'/)
        return String(try #require(found).1)
    }
}
