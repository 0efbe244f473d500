import Foundation
import ManagerLifecycle
import ManagerModel
import ProtocolMessages
import ProtocolModel
import ProtocolTransfer
import SwiftProtobuf

/// Between messages and the manager's own values. What cannot be read is left out: a report about nothing changes nothing.
extension ID {
    /// 16 bytes, as in messages.
    var octets: Data { withUnsafeBytes(of: uuid.uuid) { Data($0) } }

    init?(octets: Data) {
        guard octets.count == 16 else { return nil }
        var raw: uuid_t = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        withUnsafeMutableBytes(of: &raw) { $0.copyBytes(from: octets) }
        self.init(UUID(uuid: raw))
    }
}

extension Timestamp {
    /// A moment of a host's clock that people will see: within the years that RFC 3339 can write.
    fileprivate init(shown milliseconds: Int64) {
        self.init(milliseconds: min(max(milliseconds, 0), 253_402_300_799_999))
    }
}

extension ObservedInstance {
    init?(_ message: Roost_V1_InstanceStatus) {
        guard let id = InstanceID(octets: message.instanceID) else { return nil }
        let state: State
        switch message.state {
        case .preparing: state = .preparing
        case .starting: state = .starting
        case .running: state = .running
        case .stopping: state = .stopping
        case .stopped: state = .stopped
        case .failed: state = .failed
        case .deleted: state = .deleted
        case .unspecified, .UNRECOGNIZED: return nil
        }
        self.init(
            instance: id, epoch: Epoch(message.epoch), generation: Generation(message.generation),
            powerCycle: PowerCycle(message.powerCycle), state: state, reasonCode: message.reasonCode,
            reason: message.reason, at: Timestamp(shown: message.atMs),
            domainStartedAt: message.domainStartedMs == 0 ? nil : Timestamp(shown: message.domainStartedMs),
            failureIsFinal: message.failureFinal)
    }
}

extension HostWord {
    init(_ message: Roost_V1_HostHold) {
        guard message.left else {
            self = .isOurs
            return
        }
        let text = message.reason.unicodeScalars.filter { $0.value >= 0x20 && $0.value != 0x7F }.prefix(256)
        self = .left(HostHold(reason: String(String.UnicodeScalarView(text)), since: Timestamp(shown: message.sinceMs)))
    }
}

extension ImageCopy {
    init?(_ message: Roost_V1_HeldImage, on node: NodeID) {
        guard let image = ImageID(octets: message.imageID) else { return nil }
        func moment(_ milliseconds: Int64) -> Timestamp? {
            milliseconds == 0 ? nil : Timestamp(shown: milliseconds)
        }
        self.init(
            image: image, node: node, diskBytes: Int64(clamping: message.diskBytes),
            heldSince: moment(message.heldSinceMs), lastUsedAt: moment(message.lastUsedMs),
            verifiedAt: moment(message.verifiedMs), corruptChunks: Int(message.corruptChunks))
    }
}

extension FleetReports.ObservedImage {
    init?(_ message: Roost_V1_ImageStatus, on node: NodeID) {
        guard let id = ImageID(octets: message.imageID) else { return nil }
        let state: State
        switch message.state {
        case .fetching: state = .fetching
        case .held: state = .held
        case .failed: state = .failed
        case .removed: state = .removed
        case .unspecified, .UNRECOGNIZED: return nil
        }
        self.init(
            image: id, state: state, chunksHeld: Int(message.chunksHeld), chunksTotal: Int(message.chunksTotal),
            bytesReceived: Int64(clamping: message.bytesReceived), reason: message.reason,
            throughput: message.bytesPerSecond == 0 ? nil : Int64(clamping: message.bytesPerSecond),
            complaint: SourceComplaint(message),
            copy: message.hasHeld ? ImageCopy(message.held, on: node) : nil)
    }
}

extension SourceComplaint {
    init?(_ message: Roost_V1_ImageStatus) {
        let failure: SourceFailure
        switch message.failure {
        case .silent: failure = .silent
        case .broken: failure = .broken
        case .lied: failure = .lied
        case .unavailable: failure = .unavailable
        case .unspecified, .UNRECOGNIZED: return nil
        }
        self.init(source: NodeID(octets: message.failedSourceNodeID), failure: failure)
    }
}

extension NodeInventory {
    init(_ message: Roost_V1_Inventory) {
        func text(_ value: String) -> String { String(value.prefix(256)) }
        self.init()
        hostName = text(message.hostName)
        cpuModel = text(message.cpuModel)
        architecture = text(message.architecture)
        cpuCount = Int(min(message.cpuCount, 65_536))
        memoryBytes = Int64(clamping: message.memoryBytes)
        diskBytes = Int64(clamping: message.diskBytes)
        diskAvailableBytes = Int64(clamping: message.diskAvailableBytes)
        libvirtVersion = text(message.libvirtVersion)
        hypervisorVersion = text(message.hypervisorVersion)
        accelerator = text(message.accelerator)
        acceleratorReason = text(message.acceleratorReason)
        kernelVersion = text(message.kernelVersion)
        guestSubnet = text(message.guestSubnet)
        chunkAddress = text(message.chunkAddress)
        copiesDisks = message.copiesDisks
        shapesHardware = message.shapesHardware ? true : nil
        topology = message.hasTopology ? HostTopology(message.topology) : nil
        heedsRestartsElsewhere = message.heedsRestartsElsewhere
        cacheBudgetBytes = message.cacheBudgetBytes == 0 ? nil : Int64(clamping: message.cacheBudgetBytes)
        // Each address once: a device is known by it.
        var addresses: Set<String> = []
        pciDevices = message.pciDevices.prefix(4096).compactMap { device in
            guard Self.isAddress(device.address) else { return nil }
            let device = PCIDevice(device, isPassed: message.passesDevices)
            return addresses.insert(device.address).inserted ? device : nil
        }
    }
}

extension NodeInventory {
    /// `dddd:bb:dd.f`, as Linux names devices; a domain may have more digits. What else an agent says is no device.
    fileprivate static func isAddress(_ text: String) -> Bool {
        guard (12...16).contains(text.utf8.count) else { return false }
        return text.wholeMatch(of: /[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]/) != nil
    }
}

extension HostTopology {
    /// `nil` where it makes no sense, or is more than any host has: nobody is placed by it.
    init?(_ message: Roost_V1_HostTopology) {
        guard (1...64).contains(message.cells.count) else { return nil }
        var seen: Set<UInt32> = []
        var numbers: Set<UInt32> = []
        var cells: [Cell] = []
        for cell in message.cells {
            guard numbers.insert(cell.number).inserted, cell.number < 4096, cell.cores.count <= ProcessorSet.largest,
                cell.pages.count <= 8
            else { return nil }
            for core in cell.cores {
                guard (1...16).contains(core.processors.count),
                    core.processors.allSatisfy({ $0 <= ProcessorSet.largest && seen.insert($0).inserted })
                else { return nil }
            }
            var pages: [Pages] = []
            for page in cell.pages {
                let size = Int(clamping: page.pageBytes >> 10)
                guard size >= 1024, size % 1024 == 0, size <= 1 << 30, page.total <= 1 << 32,
                    !pages.contains(where: { $0.sizeKiB == size })
                else { return nil }
                pages.append(Pages(sizeKiB: size, total: Int(clamping: page.total)))
            }
            cells.append(
                Cell(
                    number: Int(cell.number), memoryMiB: Int(clamping: min(cell.memoryBytes >> 20, 1 << 32)),
                    cores: cell.cores.map { $0.processors.map(Int.init) }, pages: pages))
        }
        guard !seen.isEmpty else { return nil }
        self.init(cells.sorted { $0.number < $1.number })
    }
}

extension PCIDevice {
    /// - Parameter isPassed: whether the host's agent gives devices to guests; one that does not know how would start a guest
    ///   without them.
    init(_ message: Roost_V1_PCIDevice, isPassed: Bool) {
        func text(_ value: String, _ length: Int = 256) -> String? {
            // Bounded as databases count, and without what a terminal would obey.
            let scalars = value.unicodeScalars.prefix(length).filter { $0.properties.generalCategory != .control }
            return scalars.isEmpty ? nil : String(String.UnicodeScalarView(scalars))
        }
        self.init(
            address: text(message.address, 16) ?? "", vendor: Int(message.vendor & 0xFFFF),
            product: Int(message.product & 0xFFFF), classCode: Int(message.classCode & 0xFF_FFFF),
            iommuGroup: message.iommuGroup < 0 ? nil : Int(message.iommuGroup),
            numaNode: message.numaNode < 0 ? nil : Int(message.numaNode), driver: text(message.driver) ?? "")
        subsystemVendor = message.subsystemVendor == 0 ? nil : Int(message.subsystemVendor & 0xFFFF)
        subsystemProduct = message.subsystemProduct == 0 ? nil : Int(message.subsystemProduct & 0xFFFF)
        vendorName = text(message.vendorName)
        productName = text(message.productName)
        groupMembers = message.groupMembers.prefix(64).compactMap { text($0, 16) }
        isBootDisplay = message.isBootDisplay
        heldBy = InstanceID(octets: message.heldBy)
        quarantineReason = text(message.quarantineReason, 500)
        unusableReason =
            if !message.hasIsUsable {
                "the agent of its host is of a version that does not judge devices; update it"
            } else if !message.isUsable {
                text(message.unusableReason, 2000) ?? "its host does not say why"
            } else if !isPassed {
                "the agent of its host is of a version that does not pass devices to guests; update it"
            } else {
                nil
            }
    }
}

extension UsageBatch {
    init?(_ message: Roost_V1_UsageBatch) {
        guard let spool = SpoolID(octets: message.spoolID), message.samples.count <= Limits.samplesPerBatch else {
            return nil
        }
        self.init(
            spool: spool, number: message.number, samples: message.samples.compactMap(UsageSample.init),
            follows: message.hasFollows ? message.follows : nil)
    }
}

extension UsageSample {
    init?(_ message: Roost_V1_UsageSample) {
        guard let id = InstanceID(octets: message.instanceID) else { return nil }
        self.init(
            instance: id, from: Timestamp(milliseconds: message.fromMs), to: Timestamp(milliseconds: message.toMs),
            vcpus: Int(min(message.vcpus, 65_536)), ramMiB: Int(min(message.memoryBytes >> 20, 1 << 30)),
            cpuTimeNanoseconds: Int64(clamping: message.cpuTimeNs),
            diskReadBytes: Int64(clamping: message.diskReadBytes),
            diskWriteBytes: Int64(clamping: message.diskWriteBytes),
            networkReceiveBytes: Int64(clamping: message.networkReceiveBytes),
            networkTransmitBytes: Int64(clamping: message.networkTransmitBytes))
    }
}
