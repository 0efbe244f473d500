import Foundation
import ManagerLifecycle
import ManagerModel
import ProtocolMessages
import ProtocolModel
import SwiftProtobuf
import Testing

@testable import ManagerFleet

/// What agents say, at the ends of what their messages can hold (P10).
@Suite("Values from messages")
struct MessageValuesTests {
    private static let id = Data(repeating: 7, count: 16)

    @Test(
        "times that no clock shows are brought within the years that the API can write",
        arguments: [Int64.min, -1, .max])
    func times(milliseconds: Int64) throws {
        let observed = try #require(
            ObservedInstance(
                .with {
                    $0.instanceID = Self.id
                    $0.state = .running
                    $0.atMs = milliseconds
                    $0.domainStartedMs = milliseconds
                }))
        for moment in [observed.at, try #require(observed.domainStartedAt)] {
            #expect(moment.description.utf8.count == 24)
            #expect(Timestamp(moment.description) == moment)
        }
    }

    @Test("counters and sizes at their ends are taken without a trap")
    func ends() throws {
        let sample = try #require(
            UsageSample(
                .with {
                    $0.instanceID = Self.id
                    ($0.fromMs, $0.toMs) = (.min, .max)
                    ($0.vcpus, $0.memoryBytes, $0.cpuTimeNs) = (.max, .max, .max)
                    ($0.diskReadBytes, $0.networkReceiveBytes) = (.max, .max)
                }))
        #expect(sample.vcpus == 65_536 && sample.ramMiB == 1 << 30 && sample.cpuTimeNanoseconds == .max)
        let inventory = NodeInventory(
            .with {
                ($0.cpuCount, $0.memoryBytes, $0.diskBytes, $0.diskAvailableBytes) = (.max, .max, .max, .max)
                $0.hostName = String(repeating: "h", count: 10_000)
                $0.pciDevices = (0..<5000).map { number in
                    .with {
                        ($0.vendor, $0.classCode, $0.iommuGroup, $0.numaNode) = (.max, .max, .min, .max)
                        $0.address = "\(String(0x1_0000 + number, radix: 16).suffix(4)):00:00.0"
                    }
                }
            })
        #expect(inventory.cpuCount == 65_536 && inventory.memoryBytes == .max && inventory.hostName.count == 256)
        #expect(inventory.pciDevices.count == 4096 && inventory.pciDevices[0].iommuGroup == nil)
        #expect(inventory.pciDevices[0].vendor == 0xFFFF && inventory.pciDevices[0].classCode == 0xFF_FFFF)
        let load = NodeLoad(
            .with {
                ($0.loadAverage1M, $0.memoryAvailableBytes, $0.runningDomains) = (.nan, .max, .max)
            })
        #expect(load.memoryAvailableBytes == .max)
    }

    @Test("a device is known by its address; why a guest cannot have it is always said")
    func devices() {
        func inventory(_ devices: [Roost_V1_PCIDevice], isPassed: Bool = true) -> [PCIDevice] {
            NodeInventory(
                .with {
                    $0.pciDevices = devices
                    $0.passesDevices = isPassed
                }
            ).pciDevices
        }
        let told = Roost_V1_PCIDevice.with {
            ($0.address, $0.vendor, $0.product, $0.classCode) = ("0000:3b:00.0", 0x10DE, 0x11BF, 0x030000)
            ($0.iommuGroup, $0.numaNode, $0.driver) = (12, -1, "nvidia")
            ($0.subsystemVendor, $0.subsystemProduct) = (0x10DE, 0x100A)
            ($0.vendorName, $0.productName) = ("NVIDIA", String(repeating: "K", count: 1000))
            $0.groupMembers = ["0000:3b:00.1"]
            $0.isUsable = true
        }
        let device = inventory([told, told])
        #expect(device.count == 1)
        #expect(device[0].unusableReason == nil && device[0].numaNode == nil && device[0].iommuGroup == 12)
        #expect(device[0].productName?.count == 256 && device[0].groupMembers == ["0000:3b:00.1"])
        #expect(device[0].subsystemProduct == 0x100A)
        #expect(device[0].heldBy == nil && device[0].quarantineReason == nil)
        var held = told
        (held.heldBy, held.quarantineReason) = (Self.id, "its reset failed")
        #expect(inventory([held])[0].heldBy == InstanceID(octets: Self.id))
        #expect(inventory([held])[0].quarantineReason == "its reset failed")
        let cell = Roost_V1_HostCell.with {
            $0.memoryBytes = 8 << 30
            $0.cores = [.with { $0.processors = [0, 1] }]
            $0.pages = [.with { ($0.pageBytes, $0.total) = (2 << 20, 9) }]
        }
        func topology(_ cells: [Roost_V1_HostCell]) -> HostTopology? {
            NodeInventory(.with { $0.topology.cells = cells }).topology
        }
        #expect(
            topology([cell])
                == HostTopology([
                    .init(number: 0, memoryMiB: 8192, cores: [[0, 1]], pages: [.init(sizeKiB: 2048, total: 9)])
                ]))
        #expect(NodeInventory(.init()).topology == nil)
        var other = cell
        other.number = 1
        // A processor in two nodes, a node named twice, no processor, pages of no size.
        var odd = cell
        odd.pages[0].pageBytes = 4096
        for wrong in [[cell, other], [cell, cell], [], [.init()], [odd]] { #expect(topology(wrong) == nil, "\(wrong)") }
        #expect(NodeInventory(.init()).shapesHardware == nil)
        #expect(NodeInventory(.with { $0.shapesHardware = true }).shapesHardware == true)
        // What is no address is no device, and a name obeys nothing on a terminal.
        for address in ["", "eth0", "0000:3B:00.0", "0000:3b:00.0\u{1B}[2J", "3b:00.0"] {
            var other = told
            other.address = address
            #expect(inventory([other]).isEmpty, "\(address)")
        }
        var loud = told
        loud.vendorName = "NVI\u{1B}[2JDIA"
        #expect(inventory([loud])[0].vendorName == "NVI[2JDIA")
        // An agent that judges, and would start a guest without it.
        #expect(inventory([told], isPassed: false)[0].unusableReason?.contains("update it") == true)
        var kept = told
        kept.isUsable = false
        kept.unusableReason = "the IOMMU is off"
        #expect(inventory([kept])[0].unusableReason == "the IOMMU is off")
        kept.unusableReason = ""
        #expect(inventory([kept])[0].unusableReason == "its host does not say why")
        // An agent of an earlier version.
        kept.clearIsUsable()
        #expect(inventory([kept])[0].unusableReason?.contains("update it") == true)
    }

    @Test("what names nothing, or says nothing that is known, is left out")
    func unreadable() {
        #expect(ObservedInstance(.with { $0.state = .running }) == nil)
        #expect(ObservedInstance(.with { $0.instanceID = Self.id }) == nil)
        #expect(
            ObservedInstance(
                .with {
                    $0.instanceID = Self.id
                    $0.state = .UNRECOGNIZED(99)
                }) == nil)
        #expect(UsageSample(.with { $0.instanceID = Data([1]) }) == nil)
        let many = Roost_V1_UsageBatch.with {
            $0.spoolID = Self.id
            $0.samples = Array(repeating: .init(), count: Limits.samplesPerBatch + 1)
        }
        #expect(UsageBatch(many) == nil)
    }
}
