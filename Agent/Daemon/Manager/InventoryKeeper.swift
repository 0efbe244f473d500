import Foundation
import ProcessThreads
import ProtocolMessages
import ProtocolTransfer
import SwiftProtobuf
import Synchronization

/// What this host is and has, as the manager is told.
final class InventoryKeeper: Sendable {
    /// What only others can tell; asked each time, on a thread that may block.
    struct Sources: Sendable {
        var engine: @Sendable () async -> EngineDescription
        var devices: @Sendable () -> [Roost_V1_PCIDevice]
        var heldImages: @Sendable () -> [HeldImageValue]
        var chunkAddress: @Sendable () -> String
        var topology: @Sendable () -> Roost_V1_HostTopology? = { nil }
    }

    private let facts: HostFacts
    private let sources: Sources
    private let cacheFolder: String
    private let cacheBudgetBytes: Int64?
    private let subnet: String
    private let location: String
    private let copiesDisks: Bool
    private let passesDevices: Bool
    private let thread: BlockingThreads
    private let last = Mutex<Roost_V1_Inventory?>(nil)

    init(
        facts: HostFacts, sources: Sources, cacheFolder: String, cacheBudgetBytes: Int64? = nil, subnet: String,
        location: String, copiesDisks: Bool, passesDevices: Bool = false, thread: BlockingThreads
    ) {
        self.facts = facts
        self.sources = sources
        self.cacheFolder = cacheFolder
        self.cacheBudgetBytes = cacheBudgetBytes
        self.subnet = subnet
        self.location = location
        self.copiesDisks = copiesDisks
        self.passesDevices = passesDevices
        self.thread = thread
    }

    /// The inventory as it is now.
    func fresh() async -> Roost_V1_Inventory {
        let engine = await sources.engine()
        let fresh: Roost_V1_Inventory
        do {
            fresh = try await thread.run { [self] in collect(engine) }
        } catch {
            fresh = last.withLock { $0 } ?? Roost_V1_Inventory()
        }
        last.withLock { $0 = fresh }
        return fresh
    }

    /// The inventory, where it differs from what was told last.
    func changed() async -> Roost_V1_Inventory? {
        let before = last.withLock { $0 }
        let now = await fresh()
        guard let before else { return now }
        var comparable = now
        // Free space moves all the time, and heartbeats tell it.
        comparable.diskAvailableBytes = before.diskAvailableBytes
        comparable.heldImages = comparable.heldImages.map(Self.coarse)
        var known = before
        known.heldImages = known.heldImages.map(Self.coarse)
        return comparable == known ? nil : now
    }

    /// An image that is served all the time is used anew each second: that is no news.
    private static func coarse(_ image: Roost_V1_HeldImage) -> Roost_V1_HeldImage {
        var image = image
        image.lastUsedMs /= 600_000
        return image
    }

    /// Load, for a heartbeat.
    func load() -> Roost_V1_Heartbeat {
        .with {
            $0.loadAverage1M = facts.loadAverage
            $0.memoryAvailableBytes = facts.memoryAvailableBytes
            $0.cacheAvailableBytes = HostFacts.disk(cacheFolder).available
        }
    }

    private func collect(_ engine: EngineDescription) -> Roost_V1_Inventory {
        let disk = HostFacts.disk(cacheFolder)
        return .with {
            $0.hostName = facts.hostName
            $0.cpuModel = engine.cpuModel.isEmpty ? facts.cpuModel : engine.cpuModel
            $0.architecture = engine.architecture.isEmpty ? facts.architecture : engine.architecture
            $0.cpuCount = engine.cpuCount
            $0.memoryBytes = engine.memoryBytes > 0 ? engine.memoryBytes : facts.memoryBytes
            $0.diskBytes = disk.total
            $0.diskAvailableBytes = disk.available
            $0.libvirtVersion = engine.libvirtVersion
            $0.hypervisorVersion = engine.hypervisorVersion
            $0.accelerator = engine.accelerator
            $0.acceleratorReason = engine.acceleratorReason
            $0.kernelVersion = facts.kernelVersion
            $0.pciDevices = sources.devices()
            $0.guestSubnet = subnet
            $0.chunkAddress = sources.chunkAddress()
            $0.cacheBudgetBytes = UInt64(clamping: cacheBudgetBytes ?? 0)
            $0.heldImages = sources.heldImages().map(\.message)
            $0.location = location
            $0.copiesDisks = copiesDisks
            $0.passesDevices = passesDevices
            $0.shapesHardware = true
            if let topology = sources.topology() { $0.topology = topology }
            $0.heedsRestartsElsewhere = true
        }
    }
}

/// What the hypervisor says of itself; empty where it does not answer.
struct EngineDescription: Sendable, Equatable {
    var cpuModel = ""
    var architecture = ""
    var memoryBytes: UInt64 = 0
    var cpuCount = UInt32(clamping: ProcessInfo.processInfo.activeProcessorCount)
    var libvirtVersion = ""
    var hypervisorVersion = ""
    var accelerator = ""
    var acceleratorReason = ""
}
