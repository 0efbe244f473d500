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

    /// A boot sector in real mode: waits for two ticks of the timer, so that interrupts are seen to arrive, then writes
    /// 0x10 to the debug-exit device, which QEMU turns into its exit status 0x21.
    static let bootSector: [UInt8] =
        [
            0x31, 0xC0, 0x8E, 0xD8,  // xor ax, ax; mov ds, ax
            0xFB,  // sti
            0x8B, 0x1E, 0x6C, 0x04,  // mov bx, [0x046c]: the BIOS's tick count
            0xF4,  // hlt
            0xA1, 0x6C, 0x04, 0x29, 0xD8,  // mov ax, [0x046c]; sub ax, bx
            0x83, 0xF8, 0x02, 0x72, 0xF5,  // cmp ax, 2; jb to hlt
            0xBA, 0xF4, 0x00, 0xB0, 0x10, 0xEE,  // mov dx, 0xf4; mov al, 0x10; out dx, al
            0xF4, 0xEB, 0xFD,  // hlt for ever
        ] + [UInt8](repeating: 0, count: 481) + [0x55, 0xAA]
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
                    // enforce: a KVM that lacks what every processor of its kind has runs a boot sector and hangs kernels.
                    "-accel", "kvm", "-cpu", "kvm64,enforce", "-machine", "pc", "-m", "16", "-nodefaults",
                    "-no-user-config", "-display", "none",
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
            return Finding(
                accelerator: .tcg, reason: "the test of \(device) could not be made (\(error)): guests are emulated")
        }
    }
}
