public import ProtocolModel
public import ProtocolTransfer

/// The hardware of one host, and what lies on it: it outlives every agent.
public final class Machine {
    /// Who the host is to the site, once it has joined.
    public struct Identity: Sendable, Equatable {
        public let node: NodeID
        public let serial: String

        public init(node: NodeID, serial: String) {
            self.node = node
            self.serial = serial
        }
    }

    /// An image, whole or in part.
    public struct StoredImage: Sendable {
        public let manifest: Manifest
        public var chunks: ChunkBitmap
        /// The bytes of the only chunk that is not all zeros.
        public var bytes: [UInt8]

        public init(manifest: Manifest) {
            self.manifest = manifest
            self.chunks = ChunkBitmap(count: manifest.chunkCount)
            self.bytes = []
        }
    }

    /// That its own operator has taken the host back.
    public struct Departure: Sendable {
        public let at: SimulatedTime
        public let deadline: SimulatedTime
        /// On the disk; otherwise the next agent may or may not know of it.
        public var isKept: Bool

        public init(at: SimulatedTime, deadline: SimulatedTime, isKept: Bool) {
            self.at = at
            self.deadline = deadline
            self.isKept = isKept
        }
    }

    public let index: Int
    public let name: String
    public let disk: SimulatedDisk
    public let hypervisor: SimulatedHypervisor
    public var identity: Identity?
    public var images: [ImageID: StoredImage] = [:]
    public var bootID: BootID
    public var bootedAt = SimulatedTime.zero
    /// How far the wall clock is off.
    public var clockError = SimulatedTime.zero
    public var isUp = true
    public var departure: Departure?
    /// When it was last given back by its own operator.
    public var returnedAt: SimulatedTime?
    /// What went wrong here that hides guests from the agent, so that a check can tell what it must forgive.
    public private(set) var faults: [(at: SimulatedTime, lasting: SimulatedTime)] = []
    private let world: World

    public init(index: Int, world: World, ledger: SimulatedHypervisor.Ledger) {
        self.index = index
        self.name = "host\(index)"
        self.world = world
        disk = SimulatedDisk(random: world.random)
        hypervisor = SimulatedHypervisor(host: index, world: world, ledger: ledger)
        var random = world.random
        bootID = .generate(at: World.epoch, using: &random)
    }

    /// As the host's own clocks show it.
    public var now: Moment {
        Moment(
            timestamp: world.timestamp + clockError.duration,
            uptime: Uptime(sinceStart: .seconds(100) + (world.now - bootedAt).duration))
    }

    public func noteFault(lasting: SimulatedTime = .zero) { faults.append((world.now, lasting)) }
}
