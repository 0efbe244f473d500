import Foundation
import Testing

@testable import AgentDevices

@Suite("PCI scan (AGT-03)")
struct PCIScannerTests {
    private func withTree(_ body: (String, String) throws -> Void) throws {
        let root = FileManager.default.temporaryDirectory.path + "/roost-sysfs-\(UUID().uuidString)"
        let devices = root + "/bus/pci/devices"
        try FileManager.default.createDirectory(atPath: devices, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: root) }
        try body(root, devices)
    }

    private func device(_ path: String, _ files: [String: String], links: [String: String] = [:]) throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        for (name, text) in files { try Data(text.utf8).write(to: URL(fileURLWithPath: path + "/" + name)) }
        for (name, target) in links {
            try FileManager.default.createSymbolicLink(atPath: path + "/" + name, withDestinationPath: target)
        }
    }

    @Test("reads a GPU with all that is known of it")
    func gpu() throws {
        try withTree { root, devices in
            try device(
                devices + "/0000:03:00.0",
                [
                    "vendor": "0x10de\n", "device": "0x11bf\n", "class": "0x030000\n", "numa_node": "1\n",
                    "subsystem_vendor": "0x10de\n", "subsystem_device": "0x100d\n",
                ],
                links: [
                    "iommu_group": "../../../kernel/iommu_groups/17", "driver": "../../../bus/pci/drivers/vfio-pci",
                ])
            let found = try PCIScanner(sysfsRoot: root).scan()
            #expect(
                found == [
                    PCIDevice(
                        address: "0000:03:00.0", vendor: 0x10de, product: 0x11bf, subsystemVendor: 0x10de,
                        subsystemProduct: 0x100d, classCode: 0x030000, iommuGroup: 17, numaNode: 1, driver: "vfio-pci")
                ])
        }
    }

    @Test("leaves out what is odd and keeps what is not")
    func hostile() throws {
        try withTree { root, devices in
            try device(
                devices + "/0000:00:1f.2",
                ["vendor": "0x8086", "device": "0x2922", "class": "0x010601", "numa_node": "-1"])
            try device(devices + "/..evil", ["vendor": "0x1"])
            try device(devices + "/0000:00:00.0", ["vendor": "garbage", "device": "0x1", "class": "0x1"])
            try device(
                devices + "/0000:00:01.0",
                ["vendor": String(repeating: "9", count: 100_000), "device": "0x1", "class": "0x1"])
            try FileManager.default.createSymbolicLink(
                atPath: devices + "/0000:00:02.0", withDestinationPath: devices + "/0000:00:02.0")
            mkfifo(devices + "/0000:00:1f.2/driver", 0o600)
            let found = try PCIScanner(sysfsRoot: root).scan()
            #expect(found.map(\.address) == ["0000:00:1f.2"])
            #expect(found.first?.numaNode == nil)
            #expect(found.first?.driver == nil)
        }
    }

    @Test("says so where there is no PCI bus")
    func absent() {
        #expect(throws: PCIScanner.Failure.noBus("/nowhere/bus/pci/devices")) {
            try PCIScanner(sysfsRoot: "/nowhere").scan()
        }
    }
}
