public import ProtocolModel

/// A host that runs an agent.
public struct Node: Sendable, Equatable {
    /// Whether the agent is heard from; kept apart from whether the node is enabled (AGT-07).
    public enum Liveness: String, Sendable, CaseIterable {
        /// Never connected since it joined.
        case never
        case alive
        /// Three heartbeats were missed.
        case suspect
        /// Six heartbeats were missed.
        case down
    }
    public enum DrainState: String, Sendable, CaseIterable {
        case none, draining, drained, failed
    }

    public var id: NodeID
    public var name: String
    public var enabled: Bool
    public var disabledReason: String
    /// An operator's word; `nil`: windows decide, or nobody keeps it from being in service.
    public var hold: NodeHold?
    /// The host's own operator has taken it back; goes before everything else.
    public var hostHold: HostHold?
    /// When it may be used; `nil`: always.
    public var availability: Availability?
    public var liveness: Liveness
    public var lastSeenAt: Timestamp?
    /// It is not heard of any more; `nil`: it is, or never was.
    public var loss: HostLoss?
    public var remoteAddress: String
    public var softwareVersion: String
    public var bootID: String
    public var location: String
    public var certificateSerial: String
    public var sessionEpoch: SessionEpoch
    public var assignmentRevision: Revision
    public var drainState: DrainState
    public var drainReason: String
    public var joinedAt: Timestamp

    // Inventory.
    public var inventory: NodeInventory

    // Overcommit: capacity = total × ratio. The node's own settings; `AllocationRatios` says what holds where there is none.
    public var cpuAllocationRatio: Double?
    public var ramAllocationRatio: Double?
    public var diskAllocationRatio: Double?

    /// May be taken back by its owner at any time; flavors say whether such hosts are chosen first or last.
    public var isOpportunistic: Bool

    /// Processors that a guest may have alone; no other guest runs on them.
    public var dedicatedCPUs: ProcessorSet?
    /// Where guests lie that are not anywhere, as claimed when they were placed.
    public var places: [InstanceID: GuestPlace] = [:]

    /// Where the node differs from what the site says.
    public var transferLimits: TransferLimits

    // The sum of the claims on this node, kept in the transactions that make and release them (P3).
    public var claimedVCPUs: Int
    public var claimedRAMMiB: Int
    public var claimedDiskGiB: Int
    public var instanceCount: Int

    public init(id: NodeID, name: String, certificateSerial: String, joinedAt: Timestamp) {
        self.id = id
        self.name = name
        self.enabled = true
        self.disabledReason = ""
        self.hold = nil
        self.hostHold = nil
        self.availability = nil
        self.liveness = .never
        self.lastSeenAt = nil
        self.loss = nil
        self.remoteAddress = ""
        self.softwareVersion = ""
        self.bootID = ""
        self.location = ""
        self.certificateSerial = certificateSerial
        self.sessionEpoch = SessionEpoch(0)
        self.assignmentRevision = Revision(0)
        self.drainState = .none
        self.drainReason = ""
        self.joinedAt = joinedAt
        self.inventory = NodeInventory()
        self.cpuAllocationRatio = nil
        self.ramAllocationRatio = nil
        self.diskAllocationRatio = nil
        self.isOpportunistic = false
        self.transferLimits = TransferLimits()
        self.claimedVCPUs = 0
        self.claimedRAMMiB = 0
        self.claimedDiskGiB = 0
        self.instanceCount = 0
    }
}

extension Node {
    /// Processors that guests have alone or may have; none where nothing is known of the host's.
    public var reservedCPUs: ProcessorSet {
        guard let topology = inventory.topology else { return .none }
        guard dedicatedCPUs != nil || !places.isEmpty else { return .none }
        let taken = places.values.flatMap { $0.cells.flatMap(\.processors) }
        return ProcessorSet((dedicatedCPUs ?? .none).numbers + taken).intersection(topology.processors)
    }

    /// What the others share; `nil`: all of them.
    public var sharedCPUs: ProcessorSet? {
        let reserved = reservedCPUs
        guard !reserved.isEmpty, let topology = inventory.topology else { return nil }
        return topology.processors.subtracting(reserved)
    }
}

/// What an agent reports of its host. Kept as one JSON column: placement needs a few of these, people read the rest.
public struct NodeInventory: Sendable, Equatable, Codable {
    public var hostName = ""
    public var cpuModel = ""
    public var architecture = ""
    public var cpuCount = 0
    public var memoryBytes: Int64 = 0
    public var diskBytes: Int64 = 0
    public var diskAvailableBytes: Int64 = 0
    public var libvirtVersion = ""
    public var hypervisorVersion = ""
    public var accelerator = ""
    public var acceleratorReason = ""
    public var kernelVersion = ""
    public var guestSubnet = ""
    public var chunkAddress = ""
    public var pciDevices: [PCIDevice] = []
    /// What cached images may take of the disk; `nil`: no limit of their own.
    public var cacheBudgetBytes: Int64?
    /// Images can be made of guests' disks there; `nil`: the agent does not know of it.
    public var copiesDisks: Bool?
    /// Guests' hardware can be other than ordinary there; `nil`: the agent does not know of it.
    public var shapesHardware: Bool?
    /// `nil`: the agent does not say.
    public var topology: HostTopology?
    /// Its agent starts a guest that may run elsewhere only once it has heard a manager; `nil`: it does not know of that.
    public var heedsRestartsElsewhere: Bool?

    public init() {}
}

/// A PCI device of a host (AGT-03).
public struct PCIDevice: Sendable, Equatable, Codable {
    /// Domain, bus, device and function, such as `0000:03:00.0`.
    public var address: String
    public var vendor: Int
    public var product: Int
    /// 24 bits: class, subclass, programming interface.
    public var classCode: Int
    public var iommuGroup: Int?
    public var numaNode: Int?
    public var driver: String
    public var subsystemVendor: Int?
    public var subsystemProduct: Int?
    /// Of the PCI ID database; `nil` where the host has none, or it does not know the device.
    public var vendorName: String?
    public var productName: String?
    /// The other devices that go where it goes, by address.
    public var groupMembers: [String]?
    /// Whether it is what the host shows its own screen on.
    public var isBootDisplay: Bool?
    /// Why its host cannot give it to a guest; `nil`: it can.
    public var unusableReason: String?
    /// The instance that its host keeps it for, until it is ready for others.
    public var heldBy: InstanceID?
    /// Why its host keeps it out of service.
    public var quarantineReason: String?

    /// Vendor and product as people call them, or the numbers.
    public var name: String {
        let known = [vendorName, productName].compactMap(\.self).joined(separator: " ")
        guard known.isEmpty else { return known }
        return [vendor, product].map { Self.digits($0, 4) }.joined(separator: ":")
    }

    /// A number of the bus in hexadecimal digits, as `lspci -n` prints it.
    public static func digits(_ number: Int, _ width: Int) -> String {
        let text = String(UInt32(truncatingIfNeeded: number), radix: 16)
        return String(repeating: "0", count: max(0, width - text.count)) + text
    }

    public init(
        address: String, vendor: Int, product: Int, classCode: Int, iommuGroup: Int?, numaNode: Int?, driver: String
    ) {
        self.address = address
        self.vendor = vendor
        self.product = product
        self.classCode = classCode
        self.iommuGroup = iommuGroup
        self.numaNode = numaNode
        self.driver = driver
    }
}

/// A single-use permission to enrol a node; only the hash of the secret is kept.
public struct JoinToken: Sendable, Equatable {
    public var id: TokenID
    /// SHA-256 of the secret.
    public var secretHash: ContentDigest
    /// Where set, the only node name that may use it.
    public var nodeName: String?
    public var createdBy: String
    public var createdAt: Timestamp
    public var expiresAt: Timestamp
    public var usedAt: Timestamp?

    public init(
        id: TokenID, secretHash: ContentDigest, nodeName: String?, createdBy: String, createdAt: Timestamp,
        expiresAt: Timestamp, usedAt: Timestamp? = nil
    ) {
        self.id = id
        self.secretHash = secretHash
        self.nodeName = nodeName
        self.createdBy = createdBy
        self.createdAt = createdAt
        self.expiresAt = expiresAt
        self.usedAt = usedAt
    }
}
