import Foundation
import ProtocolModel
import Testing
import TestsSupportWaiting

@testable import AgentHypervisor

extension Tag {
    /// Needs libvirtd, QEMU and root on this machine. Set `ROOST_TEST_LIBVIRT=0` to leave these out; without it they fail
    /// where libvirtd is absent.
    @Tag static var libvirt: Self
}

/// A hypervisor, a network of its own on it, and a folder that QEMU's user can pass through.
struct LiveLibvirt {
    static let isWanted = ProcessInfo.processInfo.environment["ROOST_TEST_LIBVIRT"] != "0"
    static let uri = ProcessInfo.processInfo.environment["ROOST_TEST_LIBVIRT_URI"] ?? "qemu:///system"

    static let node = NodeID.generate(at: Timestamp(milliseconds: 1))

    let hypervisor: LibvirtHypervisor
    let network: LibvirtNetwork
    let folder: String

    /// Removes network and folder afterwards, whatever happens; a guest that a test leaves is removed with it.
    static func with(uri: String = LiveLibvirt.uri, _ body: (LiveLibvirt) async throws -> Void) async throws {
        let mark = String(UInt16.random(in: 0...UInt16.max), radix: 16)
        let subnet = "10.213.\(UInt8.random(in: 0...UInt8.max)).0/24"
        let folder = "/var/tmp/roost-test-\(mark)"
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o711])
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let hypervisor = LibvirtHypervisor(uri: uri, node: node)
        let live = LiveLibvirt(
            hypervisor: hypervisor,
            network: LibvirtNetwork(
                hypervisor, name: "roost-test-\(mark)", bridge: "rtest\(mark)",
                subnet: try #require(LibvirtNetwork.Subnet(subnet))), folder: folder)
        do {
            _ = try await hypervisor.describe()
        } catch {
            Issue.record("libvirtd does not answer at \(uri); start virtlogd and libvirtd, or set ROOST_TEST_LIBVIRT=0")
            throw error
        }
        try await live.network.ensure()
        do {
            try await body(live)
        } catch {
            await live.clear(uri)
            throw error
        }
        await live.clear(uri)
    }

    private func clear(_ uri: String) async {
        for instance in InstanceFolder.all(in: folder) { try? await hypervisor.remove(instance) }
        for verb in ["net-destroy", "net-undefine"] {
            try? await HostProgram.run("virsh", ["-q", "-c", uri, verb, network.name])
        }
    }

    /// A domain of the given boot sector, with its disk and seed, ready to be started.
    func specification(_ sector: [UInt8]) async throws -> DomainSpecification {
        let instance = InstanceID.generate(at: SystemTime().timestamp)
        let base = folder + "/base-\(instance).raw"
        try Data(sector + [UInt8](repeating: 0, count: 1 << 20)).write(to: URL(filePath: base))
        let files = InstanceFolder(instance, in: folder)
        try await files.createDisk(base: base, sizeBytes: 4 << 20)
        try await files.writeSeed(
            InstanceFolder.Seed(
                instance: instance, hostName: "guest", sshKeys: ["ssh-ed25519 AAAA test"], userData: [], metadata: [:]))
        return DomainSpecification(
            instance: instance, epoch: Epoch(3), powerCycle: PowerCycle(7), startedAt: SystemTime().timestamp,
            title: "a <test> & \"more\"\nlines", vcpus: 1, memoryBytes: 64 << 20, diskPath: files.diskPath,
            seedPath: files.seedPath, consoleLogPath: files.consoleLogPath, macAddress: "52:54:00:12:34:56",
            network: network.name, accelerator: .tcg, emulator: nil, basePath: base)
    }
}

/// Boot sectors, each a whole guest.
enum Sector {
    private static func make(_ program: [UInt8]) -> [UInt8] {
        program + [UInt8](repeating: 0, count: 510 - program.count) + [0x55, 0xAA]
    }

    /// Waits for ever, with interrupts on, at little cost.
    static let idle = make([0xFB, 0xF4, 0xEB, 0xFD])

    /// Powers itself off the ACPI way: asks the LPC bridge (bus 0, device 31, register 0x40) where the firmware put the
    /// power management ports, and writes "sleep type 0, begin" to the one at offset 4, which is QEMU's S5.
    static let powerOff = make([
        0x66, 0xB8, 0x40, 0xF8, 0x00, 0x80,  // mov eax, 0x8000f840
        0xBA, 0xF8, 0x0C,  // mov dx, 0xcf8
        0x66, 0xEF,  // out dx, eax
        0xBA, 0xFC, 0x0C,  // mov dx, 0xcfc
        0x66, 0xED,  // in eax, dx
        0x24, 0x80,  // and al, 0x80
        0x89, 0xC2,  // mov dx, ax
        0x83, 0xC2, 0x04,  // add dx, 4
        0xB8, 0x00, 0x20,  // mov ax, 0x2000
        0xEF,  // out dx, ax
        0xF4, 0xEB, 0xFD,  // hlt, and again
    ])
}

/// The QEMU that runs this instance's domain.
func emulatorProcess(_ instance: InstanceID) throws -> pid_t {
    for name in try FileManager.default.contentsOfDirectory(atPath: "/proc") {
        guard let identifier = pid_t(name),
            let arguments = FileManager.default.contents(atPath: "/proc/\(name)/cmdline"),
            String(decoding: arguments, as: UTF8.self).contains("guest=roost-\(instance)")
        else { continue }
        return identifier
    }
    throw Expired(description: "no QEMU runs instance \(instance)")
}
