import Foundation
import Testing

@testable import AgentDevices

@Suite("what machines offer")
struct MachineTests {
    @Test("each machine offers what it can, and says why not what it cannot", arguments: Machine.names)
    func offers(_ name: String) throws {
        try withFolder { root in
            let machine = try Machine(name, at: root)
            let offers = DeviceOffers(try machine.scanner.scan(), policy: machine.policy).all.filter(\.isOfInterest)
            #expect(offers.map(\.device.address).sorted() == machine.expectations.map(\.address).sorted())
            for (address, expectation) in machine.expectations {
                let offer = try #require(offers.first { $0.device.address == address })
                let reasons = offer.reasons.map(\.description).joined(separator: "; ")
                switch expectation {
                case .yes(let companions):
                    #expect(reasons == "", "\(address)")
                    #expect(offer.companions == companions, "\(address)")
                case .no(let beginning):
                    #expect(!offer.isUsable && reasons.hasPrefix(beginning), "\(address): \(reasons)")
                }
            }
        }
    }

    @Test("every machine of the folder is tried")
    func complete() throws {
        let folder = try #require(Bundle.module.path(forResource: "Machines", ofType: nil))
        let files = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(".machine") }
        #expect(files.sorted() == Machine.names.map { $0 + ".machine" }.sorted())
    }

    @Test("all facts of a device come from its files")
    func facts() throws {
        try withFolder { root in
            let devices = try Machine("sriov-nic", at: root).scanner.scan().devices
            let parent = try #require(devices.first { $0.address == "0000:18:00.0" })
            #expect(parent.virtualFunctionsTotal == 64)
            #expect(parent.virtualFunctions == ["0000:18:02.0", "0000:18:02.1"])
            #expect(parent.resetMethods == ["flr", "bus"])
            #expect(parent.bridges == ["0000:17:00.0"])
            #expect(devices.first { $0.address == "0000:18:02.0" }?.physicalFunction == "0000:18:00.0")
        }
        try withFolder { root in
            let devices = try Machine("mediated", at: root).scanner.scan().devices
            #expect(
                devices.first { $0.address == "0000:3b:00.0" }?.mediatedTypes == [
                    PCIDevice.MediatedType(id: "nvidia-194", name: "GRID V100D-1Q", available: 32),
                    PCIDevice.MediatedType(id: "nvidia-197", name: "GRID V100D-8Q", available: 4),
                ])
        }
        try withFolder { root in
            let devices = try Machine("dual-gpu", at: root).scanner.scan().devices
            #expect(devices.first { $0.address == "0000:3b:00.0" }?.powerState == "D3hot")
            #expect(devices.filter(\.isBootDisplay).map(\.address) == ["0000:03:00.0"])
        }
    }

    @Test("the whole group counts: whatever keeps one member keeps all")
    func wholeGroup() throws {
        try withFolder { root in
            var host = try Machine("single-gpu", at: root).scanner.scan()
            let audio = try #require(host.devices.firstIndex { $0.address == "0000:01:00.1" })
            func reasons(_ policy: DevicePolicy = DevicePolicy()) -> [UnusableReason] {
                DeviceOffers(host, policy: policy).all.first { $0.device.address == "0000:01:00.0" }?.reasons ?? []
            }
            func blocked(_ cause: GroupBlocker.Cause) -> [UnusableReason] {
                [
                    .groupShared(
                        group: 1, with: [GroupBlocker(address: "0000:01:00.1", id: "10de:10f7", cause: cause)])
                ]
            }
            #expect(reasons() == [])
            #expect(reasons(DevicePolicy(excluded: ["0000:01:00.1"])) == blocked(.excluded))
            host.devices[audio].isBootDisplay = true
            #expect(reasons() == blocked(.bootDisplay))
            #expect(reasons(DevicePolicy(forcesBootDisplay: true)) == [])
            host.devices[audio].isBootDisplay = false
            host.uses["0000:01:00.1"] = [.swap(disk: "sdz")]
            #expect(reasons() == blocked(.used([.swap(disk: "sdz")])))
            host.uses = [:]
            host.devices[audio].mediatedDevices = 1
            #expect(reasons() == blocked(.hasParts))
            host.devices[audio].mediatedDevices = 0
            // In another slot of the group, it is not the card's own: a driver of the host's keeps it, VFIO's does not.
            host.devices[audio].address = "0000:01:01.1"
            host.devices[audio].driver = "snd_hda_intel"
            #expect(
                reasons() == [
                    .groupShared(
                        group: 1,
                        with: [
                            GroupBlocker(address: "0000:01:01.1", id: "10de:10f7", cause: .driver("snd_hda_intel"))
                        ])
                ])
            for driver in [nil, "vfio-pci", "pci-stub"] {
                host.devices[audio].driver = driver
                #expect(reasons() == [])
            }
        }
    }

    @Test("bridges of the chipset stay without a driver, and keep the group with one")
    func chipset() {
        func reasons(_ driver: String?) -> [UnusableReason] {
            let gpu = PCIDevice(
                address: "0000:00:02.0", vendor: 0x8086, product: 0x3E98, subsystemVendor: 0, subsystemProduct: 0,
                classCode: 0x030000, iommuGroup: 3, canReset: true)
            let bridge = PCIDevice(
                address: "0000:00:1f.0", vendor: 0x8086, product: 0xA305, subsystemVendor: 0, subsystemProduct: 0,
                classCode: 0x060100, iommuGroup: 3, driver: driver)
            let facts = IOMMUFacts(isOn: true, processor: .intel, kernelParameters: [], isVirtualMachine: false)
            let host = HostDevices(devices: [gpu, bridge], iommu: facts, uses: [:])
            return DeviceOffers(host, policy: DevicePolicy(classes: ["03", "06"].compactMap(DeviceClass.init))).all
                .flatMap(\.reasons)
        }
        #expect(reasons(nil) == [.bridge])
        #expect(
            reasons("lpc_ich") == [
                .groupShared(
                    group: 3,
                    with: [GroupBlocker(address: "0000:00:1f.0", id: "8086:a305", cause: .driver("lpc_ich"))]), .bridge,
            ])
    }

    @Test(
        "with the IOMMU off, a person is told what to do on this machine",
        arguments: [
            (IOMMUFacts.Processor.intel, ["quiet"], "add intel_iommu=on"),
            (.intel, ["intel_iommu=on"], "turn it on in the firmware"),
            (.intel, ["intel_iommu=off"], "remove intel_iommu=off"),
            (.amd, ["quiet"], "AMD-Vi"), (.amd, ["amd_iommu=off"], "remove amd_iommu=off"),
            (.other, [], "SMMU"),
        ])
    func advice(_ processor: IOMMUFacts.Processor, _ parameters: [String], _ expected: String) {
        let facts = IOMMUFacts(
            isOn: false, processor: processor, kernelParameters: parameters, isVirtualMachine: false)
        #expect(UnusableReason.iommuOff(facts).description.contains(expected))
    }

    @Test("classes are matched from the left")
    func classes() {
        #expect(DeviceClass("03")?.contains(0x030200) == true)
        #expect(DeviceClass("0302")?.contains(0x030000) == false)
        #expect(DeviceClass("010802")?.contains(0x010802) == true)
        for wrong in ["", "3", "030", "0x03", "03000000", "zz", "+3"] { #expect(DeviceClass(wrong) == nil) }
        #expect(deviceAddress("3B:00.0") == "0000:3b:00.0")
        #expect(deviceAddress("0001:3b:00.0") == "0001:3b:00.0")
        #expect(deviceAddress("3b:00") == nil)
    }

    @Test("a hostile tree costs neither time nor memory")
    func hostile() throws {
        try withFolder { root in
            let tree = SysfsTree(root: root)
            for folder in ["class/net", "class/block", "bus/pci/devices", "class/nvme-subsystem", "kernel"] {
                try tree.folder("sys/" + folder)
            }
            let long = "../" + String(repeating: "0000:01:00.0/", count: 300)
            for place in ["class/net/eth0", "class/block/sda", "class/nvme-subsystem/loop", "kernel/iommu_groups"] {
                try FileManager.default.createSymbolicLink(atPath: "\(root)/sys/\(place)", withDestinationPath: long)
            }
            try FileManager.default.createSymbolicLink(
                atPath: root + "/sys/class/block/nvme", withDestinationPath: "../nvme-subsystem/loop/nvme")
            var device = tree
            try device.device("0000:01:00.0", "10de:2684", "030000", ["vfs": "2000000000:", "power": "unknown"])
            let path = try #require(device.folders["0000:01:00.0"])
            try tree.file(path + "/sriov_numvfs", "2000000000\n")
            try tree.file(path + "/reset_method", String(repeating: "flr ", count: 1_000_000))
            for index in 0..<500 { try tree.folder(path + "/mdev_supported_types/type\(index)") }
            for special in ["/proc/swaps", "/proc/cmdline"] {
                try tree.folder("proc")
                #expect(mkfifo(root + special, 0o600) == 0)
            }
            try FileManager.default.createSymbolicLink(
                atPath: root + "/proc/cpuinfo", withDestinationPath: "/dev/zero")
            let host = try HostScanner(sysfsRoot: root + "/sys", procRoot: root + "/proc") { ["eth0"] }.scan()
            let found = try #require(host.devices.first)
            #expect(found.virtualFunctions == [] && found.virtualFunctionsTotal == 1024)
            #expect(found.mediatedTypes.count == 64)
            #expect(found.resetMethods.count == 8)
            #expect(found.powerState == nil)
            #expect(host.uses == ["0000:01:00.0": [.address(interface: "eth0")]])
            #expect(!host.iommu.isOn)
        }
    }

    @Test("what this machine has can be judged")
    func real() throws {
        guard FileManager.default.fileExists(atPath: "/sys/bus/pci/devices") else { return }
        let host = try HostScanner().scan()
        #expect(DeviceOffers(host, policy: DevicePolicy()).all.map(\.device) == host.devices)
    }
}

/// A folder that is gone afterwards.
func withFolder(_ body: (String) throws -> Void) throws {
    let root = NSTemporaryDirectory() + "roost-devices-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: root) }
    try body(root)
}
