import Foundation
import Testing

@testable import AgentDevices

/// A sysfs of our own, with links as the kernel makes them.
final class FakeSysfs {
    let root: String

    init() throws {
        root = NSTemporaryDirectory() + "roost-sysfs-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: root + "/bus/pci/devices", withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: root) }

    func device(_ address: String, _ attributes: [String: String], links: [String: String] = [:]) throws {
        let real = root + "/devices/pci0000:00/" + address
        try FileManager.default.createDirectory(atPath: real, withIntermediateDirectories: true)
        for (name, value) in attributes { try Data((value + "\n").utf8).write(to: URL(filePath: real + "/" + name)) }
        for (name, target) in links {
            try FileManager.default.createSymbolicLink(atPath: real + "/" + name, withDestinationPath: target)
        }
        try FileManager.default.createSymbolicLink(
            atPath: root + "/bus/pci/devices/" + address, withDestinationPath: "../../../devices/pci0000:00/" + address)
    }

    func scan() throws -> [PCIDevice] { try PCIScanner(sysfsRoot: root).scan() }
}

@Suite("PCI devices from sysfs")
struct PCIScannerTests {
    static let plain = ["vendor": "0x10de", "device": "0x2684", "class": "0x030000"]

    @Test("a GPU is read with all that passthrough needs to know")
    func complete() throws {
        let sysfs = try FakeSysfs()
        let more = ["subsystem_vendor": "0x1043", "subsystem_device": "0x889c", "numa_node": "1"]
        try sysfs.device(
            "0000:3b:00.0", Self.plain.merging(more) { $1 },
            links: ["driver": "../../../bus/pci/drivers/vfio-pci", "iommu_group": "../../../kernel/iommu_groups/27"])
        #expect(
            try sysfs.scan() == [
                PCIDevice(
                    address: "0000:3b:00.0", vendor: 0x10DE, product: 0x2684, subsystemVendor: 0x1043,
                    subsystemProduct: 0x889C, classCode: 0x030000, iommuGroup: 27, numaNode: 1, driver: "vfio-pci")
            ])
    }

    @Test("what may be missing may be missing")
    func sparse() throws {
        let sysfs = try FakeSysfs()
        try sysfs.device("0000:00:1f.3", Self.plain.merging(["numa_node": "-1"]) { $1 })
        let device = try #require(try sysfs.scan().first)
        #expect(device.driver == nil)
        #expect(device.iommuGroup == nil)
        #expect(device.numaNode == nil)
        #expect(device.subsystemVendor == 0)
    }

    @Test("devices come in the order of their addresses")
    func order() throws {
        let sysfs = try FakeSysfs()
        let addresses = ["10000:00:00.0", "0000:81:00.1", "0000:81:00.0", "0000:02:00.0"]
        for address in addresses { try sysfs.device(address, Self.plain) }
        #expect(try sysfs.scan().map(\.address) == addresses.reversed())
    }

    @Test(
        "a device whose identity is garbage is passed over, and the others are not",
        arguments: [
            ["vendor": ""], ["vendor": "10de"], ["vendor": "0x"], ["vendor": "0x-1"], ["vendor": "0x10de0"],
            ["vendor": "0x+1"], ["device": "\u{0}\u{1}"], ["device": "huge"],
        ])
    func garbage(_ wrong: [String: String]) throws {
        let sysfs = try FakeSysfs()
        let written = wrong.mapValues { $0 == "huge" ? String(repeating: "0", count: 5_000_000) : $0 }
        try sysfs.device("0000:01:00.0", Self.plain.merging(written) { $1 })
        try sysfs.device("0000:02:00.0", Self.plain)
        #expect(try sysfs.scan().map(\.address) == ["0000:02:00.0"])
    }

    @Test("links in loops, pipes, folders and strange names harm nothing")
    func hostile() throws {
        let sysfs = try FakeSysfs()
        let devices = sysfs.root + "/bus/pci/devices/"
        try sysfs.device(
            "0000:01:00.0", Self.plain,
            links: ["driver": "driver", "iommu_group": "../../kernel/iommu_groups/-5", "numa_node": "numa_node"])
        try FileManager.default.createSymbolicLink(
            atPath: devices + "0000:02:00.0", withDestinationPath: "0000:02:00.0")
        try FileManager.default.createSymbolicLink(atPath: devices + "0000:03:00.0", withDestinationPath: "/dev/zero")
        try FileManager.default.createDirectory(
            atPath: devices + "0000:04:00.0/vendor", withIntermediateDirectories: true)
        try FileManager.default.createDirectory(
            atPath: devices + "0000:05:00.0", withIntermediateDirectories: true)
        #expect(mkfifo(devices + "0000:05:00.0/vendor", 0o600) == 0)
        for name in ["+000:01:00.0", "0000:zz:00.0", "garbage", String(repeating: "a", count: 255)] {
            try Data().write(to: URL(filePath: devices + name))
        }
        let found = try sysfs.scan()
        #expect(found.map(\.address) == ["0000:01:00.0"])
        #expect(found.first?.driver == "driver")
        #expect(found.first?.iommuGroup == nil)
        #expect(found.first?.numaNode == nil)
    }

    @Test("a host without a PCI bus is told from one without devices")
    func none() {
        #expect(throws: PCIScanner.Failure.noBus("/nowhere/bus/pci/devices")) {
            try PCIScanner(sysfsRoot: "/nowhere").scan()
        }
    }

    @Test("this machine's own devices can be read")
    func real() throws {
        guard let names = try? FileManager.default.contentsOfDirectory(atPath: "/sys/bus/pci/devices") else { return }
        #expect(try PCIScanner().scan().map(\.address) == names.sorted())
    }

    @Test("addresses", arguments: ["0000:00:00.0", "ffff:ff:1f.7", "10000:e1:00.0"])
    func addresses(_ text: String) { #expect(PCIScanner.isAddress(text)) }

    @Test(
        "no addresses",
        arguments: ["", "00:00.0", "0000:00:00", "0000:0:00.0", "0000:00:+1.0", "0000:00:00.00", "../../../etc/pa"])
    func noAddresses(_ text: String) { #expect(!PCIScanner.isAddress(text)) }
}
