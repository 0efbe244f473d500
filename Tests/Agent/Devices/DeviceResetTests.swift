import Foundation
import Testing

@testable import AgentDevices

@Suite("resetting devices and looking at what came of it")
struct DeviceResetTests {
    private static let address = "0000:3b:00.0"
    private static let v100: [UInt8] = [0xDE, 0x10, 0xB6, 0x1D, 0x00, 0x00, 0x10, 0x00]

    /// One device below a bridge, in a tree of its own.
    private func withDevice(
        _ options: [String: String] = ["reset": "flr", "driver": "vfio-pci", "power": "D3hot"],
        config: [UInt8] = v100 + [UInt8](repeating: 0, count: 248),
        _ body: (_ root: String, _ folder: String, _ reset: DeviceReset) throws -> Void
    ) throws {
        try withFolder { root in
            var tree = SysfsTree(root: root)
            try tree.folder("sys/bus/pci/devices")
            for driver in ["vfio-pci", "nouveau"] { try tree.file("sys/bus/pci/drivers/\(driver)/unbind", "") }
            try tree.device("0000:3a:00.0", "8086:2030", "060400", [:])
            try tree.device(
                Self.address, "10de:1db6", "030200", options.merging(["under": "0000:3a:00.0"]) { mine, _ in mine })
            let folder = "\(root)/\(try #require(tree.folders[Self.address]))"
            try Data(config).write(to: URL(filePath: folder + "/config"))
            try body(root, folder, DeviceReset(sysfsRoot: root + "/sys"))
        }
    }

    private func text(_ path: String) -> String? { try? String(contentsOfFile: path, encoding: .utf8) }

    @Test("a device that can be reset alone is, and is not taken from VFIO for it")
    func alone() throws {
        try withDevice { root, folder, reset in
            try reset.reset(Self.address)
            #expect(text(folder + "/reset")?.hasPrefix("1") == true)
            #expect(text(root + "/sys/bus/pci/drivers/vfio-pci/unbind") == "")
            let reading = try reset.read(Self.address)
            #expect(reading.problem == nil)
        }
    }

    @Test("a driver of the host that has it gives it up first")
    func unbind() throws {
        try withDevice(["reset": "flr", "driver": "nouveau"]) { root, _, reset in
            try reset.reset(Self.address)
            #expect(text(root + "/sys/bus/pci/drivers/nouveau/unbind") == Self.address)
            #expect(
                try reset.read(Self.address).problem == "driver nouveau took it before it was verified")
        }
    }

    @Test("a device that cannot be reset alone is reset with its bus, where the kernel does that")
    func bus() throws {
        try withDevice([:]) { root, folder, reset in
            try reset.reset(Self.address)
            let bridge = URL(filePath: folder).deletingLastPathComponent().path + "/reset_subordinate"
            let shown = root + "/sys/bus/pci/devices/0000:3a:00.0/reset_subordinate"
            try Data().write(to: URL(filePath: shown))
            try reset.reset(Self.address)
            #expect(text(bridge) == "1")
        }
    }

    @Test("a reset that the kernel refuses is told, and so is a device that is gone")
    func failures() throws {
        try withDevice { root, folder, reset in
            try FileManager.default.removeItem(atPath: folder + "/reset")
            try FileManager.default.createSymbolicLink(atPath: folder + "/reset", withDestinationPath: "/dev/full")
            #expect(throws: DeviceProblem(description: "its reset failed: No space left on device")) {
                try reset.reset(Self.address)
            }
            #expect(throws: DeviceProblem(description: "it is gone from the bus")) {
                try reset.reset("0000:99:00.0")
            }
            #expect(throws: DeviceProblem(description: "it is gone from the bus")) {
                try reset.read("../../../etc/passwd")
            }
        }
    }

    @Test(
        "a device that does not answer as it should is not fit for anybody",
        arguments: [
            ([UInt8](repeating: 0xFF, count: 256), [:], "it does not answer: its configuration space reads as ff"),
            (
                [UInt8](repeating: 0xFF, count: 256), ["physfn": "0000:3a:00.1"],
                "it does not answer: its configuration space reads as ff"
            ),
            (
                [0xDE, 0x10, 0xB4, 0x1D] + [UInt8](repeating: 0, count: 60), [:],
                "it answers as 10de:1db4 and was 10de:1db6"
            ),
            ([0xDE, 0x10], [:], "its configuration space cannot be read"),
            (
                v100 + [UInt8](repeating: 0, count: 56), ["power": "D1"],
                "it is in power state D1, and should be in D0 or D3"
            ),
            (
                v100 + [UInt8](repeating: 0, count: 56), ["power": "error"],
                "it is in power state error, and should be in D0 or D3"
            ),
        ] as [([UInt8], [String: String], String)])
    func unfit(_ config: [UInt8], _ options: [String: String], _ expected: String) throws {
        try withDevice(options.merging(["reset": "flr"]) { mine, _ in mine }, config: config) { _, _, reset in
            let reading = try reset.read(Self.address)
            #expect(reading.problem == expected)
        }
    }

    @Test("asleep, on, or without a driver's word on it, a device is fit; a virtual function has no numbers of its own")
    func fit() throws {
        for state in ["D0", "D3hot", "D3cold", "unknown"] {
            try withDevice(["power": state]) { _, _, reset in
                let reading = try reset.read(Self.address)
                #expect(reading.problem == nil)
            }
        }
        let function: [UInt8] = [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0x10, 0] + [UInt8](repeating: 0, count: 56)
        try withDevice(["physfn": "0000:3a:00.1"], config: function) { _, _, reset in
            let reading = try reset.read(Self.address)
            #expect(reading.problem == nil)
        }
    }
}
