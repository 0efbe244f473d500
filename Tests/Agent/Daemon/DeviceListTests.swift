import Foundation
import Logging
import ProcessThreads
import ProtocolMessages
import ProtocolModel
import Testing
import TestsSupportAssignments

@testable import AgentDaemon
@testable import AgentDevices

@Suite("devices as others see them")
struct DeviceListTests {
    /// A sysfs in which devices come and go.
    final class Sysfs: Sendable {
        let root = NSTemporaryDirectory() + "roost-device-list-\(UUID().uuidString)"

        init() throws { try FileManager.default.createDirectory(atPath: devices, withIntermediateDirectories: true) }

        deinit { try? FileManager.default.removeItem(atPath: root) }

        private var devices: String { root + "/bus/pci/devices" }

        func plug(_ address: String, class classCode: String = "0x030200", group: Int = 7) throws {
            let folder = "\(devices)/\(address)"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            for (name, text) in ["vendor": "0x10de", "device": "0x11bf", "class": classCode, "reset": ""] {
                try Data(text.utf8).write(to: URL(filePath: "\(folder)/\(name)"))
            }
            try FileManager.default.createDirectory(
                atPath: root + "/kernel/iommu_groups/\(group)", withIntermediateDirectories: true)
            try FileManager.default.createSymbolicLink(
                atPath: folder + "/iommu_group", withDestinationPath: "../../../../kernel/iommu_groups/\(group)")
        }

        func unplug(_ address: String) throws { try FileManager.default.removeItem(atPath: "\(devices)/\(address)") }

        var list: DeviceList {
            DeviceList(
                survey: DeviceSurvey(
                    scanner: HostScanner(sysfsRoot: root, procRoot: "/nowhere") { [] }, namesPath: "/nowhere/pci.ids"),
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        }
    }

    @Test("the manager is told of a device that is plugged in or out, and of no other change")
    func changes() async throws {
        let sysfs = try Sysfs()
        try sysfs.plug("0000:01:00.0")
        try sysfs.plug("0000:00:1f.6", class: "0x020000", group: 6)
        let list = sysfs.list
        let keeper = InventoryKeeper(
            facts: HostFacts(),
            sources: InventoryKeeper.Sources(
                engine: { EngineDescription() }, devices: { list.messages }, heldImages: { [] }, chunkAddress: { "" }),
            cacheFolder: sysfs.root, subnet: "", location: "", copiesDisks: false,
            thread: BlockingThreads(name: "test"))
        #expect(await keeper.fresh().pciDevices.map(\.address) == ["0000:01:00.0"])
        #expect(await keeper.changed() == nil)
        try sysfs.plug("0000:02:00.0")
        let grown = try #require(await keeper.changed()).pciDevices
        #expect(grown.map(\.address) == ["0000:01:00.0", "0000:02:00.0"])
        // They share a group now, and so go together.
        #expect(grown.map(\.groupMembers) == [["0000:02:00.0"], ["0000:01:00.0"]])
        try sysfs.unplug("0000:01:00.0")
        #expect(try #require(await keeper.changed()).pciDevices.map(\.address) == ["0000:02:00.0"])
        #expect(await keeper.changed() == nil)
    }

    @Test("a device is out of service with what goes along with it")
    func companions() throws {
        let sysfs = try Sysfs()
        try sysfs.plug("0000:01:00.0")
        try sysfs.plug("0000:01:00.1", class: "0x040300")
        var list = sysfs.list
        #expect(list.messages.map(\.quarantineReason) == [""])
        list.standings = {
            let found = DeviceQuarantine(
                cause: .failed, reason: "it hangs", claim: nil, since: Timestamp(milliseconds: 1))
            return ["0000:01:00.1": DeviceStanding(hold: nil, claim: nil, heldSince: nil, quarantine: found)]
        }
        #expect(
            list.messages.map(\.quarantineReason) == [
                "0000:01:00.1, which goes along with it, is out of service: it hangs"
            ])
    }

    static func surveyed(_ reasons: [UnusableReason]) -> SurveyedDevice {
        var device = PCIDevice(
            address: "0000:3b:00.0", vendor: 0x10DE, product: 0x1DB6, subsystemVendor: 0x10DE,
            subsystemProduct: 0x124A, classCode: 0x030200, iommuGroup: 31, numaNode: 1, driver: "nvidia")
        device.virtualFunctionsTotal = 16
        device.physicalFunction = "0000:3a:00.0"
        device.mediatedTypes = [PCIDevice.MediatedType(id: "nvidia-194", name: "GRID V100D-1Q", available: 32)]
        return SurveyedDevice(
            offer: DeviceOffer(
                device: device, isOfInterest: true, groupMembers: ["0000:3b:00.1"], companions: ["0000:3b:00.1"],
                reset: .function, reasons: reasons),
            names: DeviceNames(
                vendor: "NVIDIA Corporation", product: "GV100GL [Tesla V100 PCIe 32GB]", subsystem: nil,
                deviceClass: "3D controller"))
    }

    @Test("the inventory has all that placement needs to know")
    func message() {
        let message = DeviceList.message(Self.surveyed([]))
        #expect(message.vendorName == "NVIDIA Corporation")
        #expect(message.productName == "GV100GL [Tesla V100 PCIe 32GB]")
        #expect(message.groupMembers == ["0000:3b:00.1"])
        #expect(message.virtualFunctionsTotal == 16)
        #expect(message.virtualFunctionsOf == "0000:3a:00.0")
        #expect(message.mediatedTypes.map(\.id) == ["nvidia-194"])
        #expect(message.mediatedTypes.map(\.available) == [32])
        #expect(message.hasIsUsable && message.isUsable && message.unusableReason.isEmpty)
        let refused = DeviceList.message(Self.surveyed([.excluded, .hasMediatedDevices(2)]))
        #expect(refused.hasIsUsable && !refused.isUsable)
        #expect(
            refused.unusableReason
                == "devices.exclude names it; it has been cut into 2 mediated devices; remove those first")
    }

    @Test("a person reads names, and why a device cannot go")
    func table() {
        #expect(
            DeviceTable([Self.surveyed([]), Self.surveyed([.excluded])]).lines == [
                "ADDRESS       ID         NAME                                               GROUP  NUMA  DRIVER  HELD BY  "
                    + "USABLE",
                "0000:3b:00.0  10de:1db6  NVIDIA Corporation GV100GL [Tesla V100 PCIe 32GB]  31     1     nvidia  -        "
                    + "yes, with 0000:3b:00.1",
                "0000:3b:00.0  10de:1db6  NVIDIA Corporation GV100GL [Tesla V100 PCIe 32GB]  31     1     nvidia  -        "
                    + "no: devices.exclude names it",
            ])
        #expect(
            DeviceTable.none(DevicePolicy())
                == "no device of the classes 03, 12 (devices.classes); --all lists those of all classes")
    }

    @Test("a person and a manager read whose a device is, and why it is out of service")
    func standings() throws {
        let claim = DeviceClaim(instance: firstInstance, epoch: Epoch(2))
        var content = LedgerContent()
        content.holds = [
            DeviceHold(
                claim: claim, addresses: ["0000:3b:00.0"], state: .attached, since: Timestamp(milliseconds: 5))
        ]
        let held = try #require(DeviceTable([Self.surveyed([])], content.standings).lines.last)
        #expect(held.contains("nvidia  \(firstInstance)  yes"))
        var message = DeviceList.message(Self.surveyed([]), content.standings["0000:3b:00.0"])
        #expect(message.heldBy == firstInstance.bytes && message.heldSinceMs == 5 && message.holdState == .attached)
        #expect(message.quarantineReason.isEmpty)
        content.holds = []
        content.quarantine["0000:3b:00.0"] = DeviceQuarantine(
            cause: .failed, reason: "it does not answer", claim: claim, since: Timestamp(milliseconds: 0))
        let broken = try #require(DeviceTable([Self.surveyed([])], content.standings).lines.last)
        #expect(
            broken.hasSuffix("-        no: out of service since 1970-01-01T00:00:00.000Z: it does not answer"))
        message = DeviceList.message(Self.surveyed([]), content.standings["0000:3b:00.0"])
        #expect(message.heldBy.isEmpty && message.quarantineReason == "it does not answer" && message.isUsable)
        let text = try DeviceDocument.text([Self.surveyed([])], content.standings)
        #expect(text.contains("\"quarantine_reason\" : \"it does not answer\""))
    }

    @Test("programs read the same")
    func document() throws {
        let text = try DeviceDocument.text([Self.surveyed([.excluded])])
        let list = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [[String: Any]])
        let device = try #require(list.first)
        #expect(device["address"] as? String == "0000:3b:00.0")
        #expect(device["subsystem_id"] as? String == "10de:124a")
        #expect(device["class_code"] as? String == "030200")
        #expect(device["goes_with"] as? [String] == ["0000:3b:00.1"])
        #expect(device["is_usable"] as? Bool == false)
        #expect(device["unusable_reasons"] as? [String] == ["devices.exclude names it"])
        #expect(device["reset"] as? String == "function")
    }
}
