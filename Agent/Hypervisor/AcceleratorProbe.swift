import Foundation

/// Finds out whether KVM runs a guest here, by running one: a `/dev/kvm` that opens may still never execute an
/// instruction, for instance in a host that is itself a virtual machine.
public struct AcceleratorProbe: Sendable {
    public struct Finding: Sendable, Equatable {
        public var accelerator: DomainSpecification.Accelerator
        /// One sentence for the node's page.
        public var reason: String
    }

    private let emulator: String
    private let device: String
    private let limit: Duration

    public init(emulator: String = "qemu-system-x86_64", device: String = "/dev/kvm", limit: Duration = .seconds(5)) {
        self.emulator = emulator
        self.device = device
        self.limit = limit
    }

    /// A boot sector in real mode: `mov dx, 0xf4; mov al, 0x10; out dx, al; hlt`, signature. The debug-exit device turns
    /// the written 0x10 into QEMU's exit status 0x21.
    static let bootSector: [UInt8] =
        [0xBA, 0xF4, 0x00, 0xB0, 0x10, 0xEE, 0xF4, 0xEB, 0xFD] + [UInt8](repeating: 0, count: 501) + [0x55, 0xAA]
    static let answer: Int32 = 0x21

    public func probe() async -> Finding {
        guard access(device, R_OK | W_OK) == 0 else {
            return Finding(accelerator: .tcg, reason: "\(device) is absent or closed to this user: guests are emulated")
        }
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("roost-probe-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        do {
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
            let disk = folder.appendingPathComponent("boot.raw")
            try Data(Self.bootSector + [UInt8](repeating: 0, count: 512 * 127)).write(to: disk)
            let status = try await HostProgram.exitStatus(
                emulator,
                [
                    "-accel", "kvm", "-machine", "pc", "-m", "16", "-nodefaults", "-no-user-config", "-display", "none",
                    "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-drive",
                    // A comma would begin an option of QEMU unless doubled.
                    "file=\(disk.path.replacing(",", with: ",,")),format=raw,if=ide,readonly=off",
                ], limit: limit)
            if status.code == Self.answer {
                return Finding(accelerator: .kvm, reason: "a test guest ran under KVM")
            }
            return Finding(
                accelerator: .tcg,
                reason: status.code == nil
                    ? "\(device) exists, but a test guest did not finish within \(limit): guests are emulated"
                    : "\(device) exists, but a test guest failed (status \(status.code ?? 0)): guests are emulated")
        } catch {
            return Finding(accelerator: .tcg, reason: "the test of \(device) could not be made (\(error)): guests are emulated")
        }
    }
}
