import Foundation
import Testing

@testable import AgentDevices

@Suite("names of devices")
struct PCINamesTests {
    static let text = """
        # a comment
        10de  NVIDIA Corporation
        \t11bf  GK104GL [GRID K2]
        \t\t10de 100a  GRID K2 board
        \t2684  AD102 [GeForce RTX 4090]
        8086  Intel Corporation
        \t11bf  something else
        1043  ASUSTeK Computer Inc.
        garbage without digits
        \t11bf  a child of nobody
        C 03  Display controller
        \t00  VGA compatible controller
        \t\t00  VGA controller
        \t02  3D controller
        """

    static func device(
        _ vendor: UInt32, _ product: UInt32, sub: (UInt32, UInt32) = (0, 0), classCode: UInt32 = 0x030000
    ) -> PCIDevice {
        PCIDevice(
            address: "0000:01:00.0", vendor: vendor, product: product, subsystemVendor: sub.0, subsystemProduct: sub.1,
            classCode: classCode)
    }

    private func names(_ device: PCIDevice, in text: String = PCINamesTests.text) -> DeviceNames {
        let identity = PCINames.Identity(device)
        return PCINames(Array(text.utf8), wanted: [identity]).names(of: identity)
    }

    @Test("vendor, product, card and class are found")
    func found() {
        #expect(
            names(Self.device(0x10DE, 0x11BF, sub: (0x10DE, 0x100A)))
                == DeviceNames(
                    vendor: "NVIDIA Corporation", product: "GK104GL [GRID K2]", subsystem: "GRID K2 board",
                    deviceClass: "VGA compatible controller"))
        #expect(names(Self.device(0x8086, 0x11BF)).product == "something else")
    }

    @Test("where the card is unknown, its maker is told; where a subclass is unknown, the class")
    func fallbacks() {
        let found = names(Self.device(0x10DE, 0x2684, sub: (0x1043, 0x889C), classCode: 0x038000))
        #expect(found.subsystem == "ASUSTeK Computer Inc.")
        #expect(found.deviceClass == "Display controller")
    }

    @Test("what is not in the database has no name")
    func unknown() {
        #expect(names(Self.device(0x1234, 0x11BF, classCode: 0xFE0000)) == DeviceNames())
        #expect(names(Self.device(0x10DE, 0xFFFF)).product == nil)
    }

    @Test("a damaged database gives fewer names and nothing worse")
    func damaged() {
        for text in [
            "", "\n\n\n", "\t\t\t", "10de", "10de  \n\t11bf", "C", "C 0", String(repeating: "x", count: 100_000),
        ] {
            #expect((names(Self.device(0x10DE, 0x11BF), in: text).product ?? "") == "")
        }
        let long = "10de  " + String(repeating: "N", count: 1_000_000) + "\u{1B}[31m"
        #expect(names(Self.device(0x10DE, 1), in: long).vendor?.utf8.count == PCINames.maximumNameBytes)
        #expect(names(Self.device(0x10DE, 1), in: "10de  a\u{1B}[31mb\u{7F}").vendor == "a[31mb")
    }

    @Test("the file is read again when it has changed, and may be missing")
    func file() throws {
        try withFolder { root in
            let file = PCINameFile(path: root + "/pci.ids")
            let gpu = Self.device(0x10DE, 0x2684)
            #expect(file.names(of: [gpu]) == [DeviceNames()])
            try Data(Self.text.utf8).write(to: URL(filePath: root + "/pci.ids"))
            #expect(file.names(of: [gpu])[0].product == "AD102 [GeForce RTX 4090]")
            #expect(
                file.names(of: [Self.device(0x10DE, 0x11BF), gpu]).map(\.product) == [
                    "GK104GL [GRID K2]", "AD102 [GeForce RTX 4090]",
                ])
            try FileManager.default.removeItem(atPath: root + "/pci.ids")
            #expect(mkfifo(root + "/pci.ids", 0o600) == 0)
            #expect(file.names(of: [gpu]) == [DeviceNames()])
        }
    }

    @Test("the database of this system knows the devices of the sources")
    func real() {
        let path = "/usr/share/misc/pci.ids"
        guard FileManager.default.fileExists(atPath: path) else { return }
        let names = PCINameFile(path: path).names(of: [Self.device(0x10DE, 0x11BF)])
        #expect(names[0].text == "NVIDIA Corporation GK104GL [GRID K2]")
    }
}
