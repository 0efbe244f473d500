import Foundation
import Testing

@testable import AgentHypervisor

@Suite("Proving KVM")
final class AcceleratorProbeTests {
    private let folder = NSTemporaryDirectory() + "roost-probe-test-\(UUID().uuidString)"

    init() throws { try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(atPath: folder) }

    /// On a machine that runs hundreds of other tests, too, a program may be given its first moment after a minute: only
    /// the test that is about the limit has one that can pass.
    private static let patience = Duration.seconds(600)

    /// A QEMU of our own making, and a device that can be opened.
    private func probe(_ script: String, limit: Duration = patience) throws -> AcceleratorProbe {
        let emulator = folder + "/qemu"
        try Data("#!/bin/sh\n\(script)\n".utf8).write(to: URL(filePath: emulator))
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: emulator)
        return AcceleratorProbe(emulator: emulator, device: "/dev/null", limit: limit)
    }

    @Test("the right answer is believed")
    func answer() async throws {
        #expect(try await probe("exit 33").probe().accelerator == .kvm)
    }

    @Test("any other end is not", arguments: ["exit 0", "exit 1", "exit 32", "kill -9 $$", "echo no >&2; exit 33000"])
    func otherEnds(_ script: String) async throws {
        let finding = try await probe(script).probe()
        #expect(finding.accelerator == .tcg)
        #expect(finding.reason.contains("emulated"))
    }

    @Test("a guest that hangs is given up, and its QEMU is killed")
    func hanging() async throws {
        let finding = try await probe(
            "echo $$ > \(folder)/pid; trap '' TERM; while :; do sleep 1000; done", limit: .seconds(20)
        ).probe()
        #expect(finding.accelerator == .tcg)
        #expect(finding.reason.contains("did not finish"))
        let text = try String(contentsOfFile: folder + "/pid", encoding: .utf8)
        let process = try #require(pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)))
        #expect(kill(process, 0) == -1 && errno == ESRCH)
    }

    @Test("without a device or a QEMU guests are emulated")
    func absent() async throws {
        let noDevice = AcceleratorProbe(emulator: folder + "/none", device: folder + "/kvm", limit: Self.patience)
        #expect(await noDevice.probe().reason.contains("absent"))
        for emulator in [folder + "/none", "qemu-system-that-is-not-there", "relative/qemu"] {
            let finding = await AcceleratorProbe(
                emulator: emulator, device: "/dev/null", limit: Self.patience
            ).probe()
            #expect(finding.accelerator == .tcg)
            #expect(finding.reason.contains("could not be made"))
        }
    }

    @Test("the probe's guest gives its answer where guests run: under emulation, with the real firmware")
    func guest() async throws {
        let disk = folder + "/boot.raw"
        let sectors = AcceleratorProbe.bootSector + [UInt8](repeating: 0, count: 512 * 127)
        #expect(sectors.count == 65_536)
        try Data(sectors).write(to: URL(filePath: disk))
        let status = try await HostProgram.exitStatus(
            "qemu-system-x86_64",
            [
                "-accel", "tcg", "-machine", "pc", "-m", "16", "-nodefaults", "-no-user-config", "-display", "none",
                "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-drive", "file=\(disk),format=raw,if=ide",
            ], limit: Self.patience)
        #expect(status.code == AcceleratorProbe.answer)
    }
}
