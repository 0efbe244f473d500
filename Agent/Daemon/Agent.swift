import AgentDurability
import AgentHypervisor
import AgentImages
import AgentLink
import AgentReconcile
import AgentManagers
import AgentUplink
import AgentUsage
import ChunkPlane
import Foundation
import Logging
import ProcessThreads
import ProtocolMessages
import ProtocolModel
import ProtocolTransfer
import ServiceLifecycle

/// What an agent runs guests with; the rest of the daemon does not know whether it is real.
struct HostParts: Sendable {
    var guests: any GuestHost
    var describe: @Sendable () async -> EngineDescription
    /// One question to a guest whether it is ready.
    var ask: ReadinessProbes.Ask
    var devices: @Sendable () -> [Roost_V1_PCIDevice]
    /// `nil` where guests cannot have devices.
    var keeper: DeviceKeeper?
    /// `nil` where guests have no disks that could be copied.
    var copies: DiskCopying?
}

/// An agent, put together: a short list of services over what it found on its disk.
struct Agent: Sendable {
    let services: [any Service]
    let chunks: ChunkService
    let link: ManagerLink
    let reconcile: ReconcileService
    /// Keeps other agents off the data folder.
    private let lock: FolderLock

    /// Opens everything that can fail before a service runs, so that it fails with a sentence and not half-way.
    init(
        settings: AgentSettings, logger: Logger, time: any TimeSource = SystemTime(),
        makeParts: (_ node: NodeID, _ boot: BootID, _ imagePath: @escaping @Sendable (ImageID) -> String?) throws ->
            HostParts
    ) throws {
        lock = try DataFolder.open(settings.data)
        let boot = try HostBoot.read(data: settings.data)
        let files = BlockingThreads(name: "roost-files", threads: 2)
        let identityFiles = IdentityFiles(data: settings.data)
        let keeper = try IdentityKeeper(identity: try identityFiles.load(), files: identityFiles, thread: files)
        let managers = try Self.managers(settings, identityFiles)
        let manager = managers[0]
        let journal = AssignmentJournal(data: settings.data)
        let (book, isKnown) = try Self.book(journal, logger)
        let departureFile = DepartureFile(data: settings.data)
        let departure = try departureFile.load(at: time.timestamp)

        let governor = TransferGovernor()
        let cache = try Self.cache(settings, keeper, governor, time, logger)
        let copies = try CaptureFolder(cache: settings.cache, freeFloorBytes: settings.cacheFloorBytes)
        let parts = try makeParts(keeper.identity.nodeID, boot.id) { cache.path(of: $0) }
        let router = Router()
        var policy = ReconcilePolicy()
        policy.parallelStarts = settings.parallelStarts
        var random = SystemRandomNumberGenerator()
        reconcile = ReconcileService(
            reconciler: Reconciler(policy: policy, hostRebooted: boot.hostRebooted, seed: random.next()),
            host: parts.guests, probes: ReadinessProbes(ask: parts.ask), time: time, logger: logger,
            report: { full, statuses in router.link?.report(full: full, statuses) },
            stopped: { router.usage?.stopped($0) }, lent: { router.captures?.lent($0, $1) })
        let captures = parts.copies.map { [reconcile] disks in
            CaptureService(
                folder: copies, disks: disks, reconcile: reconcile, time: time, logger: logger,
                report: { router.link?.report($0) })
        }

        let source = HostChunks(cache: cache, captures: copies)
        chunks = try Self.chunks(settings, cache, source, keeper, governor, time, logger) { router.took($0) }
        try chunks.start()
        let inventory = Self.inventory(settings, parts, cache, chunks, manager, files)
        link = ManagerLink(
            introduction: ManagerLink.Introduction(
                boot: boot.id, process: BootID.generate(at: time.timestamp), version: AgentVersion.current,
                managerHost: manager.host),
            book: book, departure: departure, journal: journal, reconcile: reconcile, images: cache, captures: captures,
            inventory: inventory, identity: keeper, usageInterval: settings.usageInterval, files: files, logger: logger)
        let usage = try Self.usage(settings, parts, boot.id, time, logger) { router.link?.usageWaits() }
        link.use(usage)
        router.set(link: link, usage: usage, captures: captures)
        parts.keeper?.whenChanged { router.link?.inventoryChanged() }

        let uplink = try Uplink(
            configuration: Uplink.Configuration(
                managers: managers, learned: try identityFiles.managers(), softwareVersion: AgentVersion.current),
            identity: keeper.identity, delegate: link, time: time, logger: logger)
        let departures = DepartureKeeper(
            departure, file: departureFile, reconcile: reconcile, link: link, time: time, logger: logger)
        // Those who come later use those who come earlier, and stop first.
        services =
            [chunks, usage] + (parts.keeper.map { [$0] } ?? []) + [reconcile] + (captures.map { [$0] } ?? []) + [
                UplinkService(uplink: uplink, link: link),
                try ControlService(data: settings.data, keeper: departures, time: time, logger: logger),
            ]

        departures.begin()
        link.begin(bookIsKnown: isKnown)
        for status in cache.ready() { router.took(status) }
        logger.info(
            "agent starts",
            metadata: [
                "node": "\(keeper.identity.nodeID)", "manager": "\(managers.map(\.description).joined(separator: ","))",
                "data": "\(settings.data)",
                "host_rebooted": "\(boot.hostRebooted)", "instances": "\(book.instances.count)",
                "revision": "\(book.revision)",
            ])
    }

    /// At least one.
    private static func managers(_ settings: AgentSettings, _ files: IdentityFiles) throws -> [ManagerAddress] {
        if let text = settings.manager {
            guard let addresses = ManagerAddress.list(text) else { throw AgentProblem.badManagerAddress(text) }
            return addresses
        }
        guard let address = try files.manager() else { throw AgentProblem.noManagerAddress }
        return [address]
    }

    private static func book(
        _ journal: AssignmentJournal, _ logger: Logger
    ) throws -> (book: AssignmentBook, isKnown: Bool) {
        switch try journal.load() {
        case .none: return (AssignmentBook(), false)
        case .book(let book): return (book, true)
        case .damaged(let copy):
            logger.error(
                "the kept assignments are not readable; no guest is touched until the manager sends them again",
                metadata: ["copy": "\(copy)"])
            return (AssignmentBook(), false)
        }
    }

    private static func cache(
        _ settings: AgentSettings, _ keeper: IdentityKeeper, _ governor: TransferGovernor, _ time: any TimeSource,
        _ logger: Logger
    ) throws -> ImageCache {
        var configuration = ImageCache.Configuration(folder: settings.cache)
        configuration.client.governor = governor
        configuration.budgetBytes = settings.cacheBudgetBytes
        configuration.freeFloorBytes = settings.cacheFloorBytes
        configuration.scrubInterval = settings.scrubInterval
        configuration.scrubBytesPerSecond = settings.scrubBytesPerSecond
        configuration.time = time
        return try ImageCache(
            configuration: configuration, context: { () throws(TransferError) in try keeper.clientContext() },
            verify: { keeper.verify($0, at: time.timestamp) }, counters: TransferCounters(), logger: logger,
            disks: {
                let found = try DiskDependencies.read(in: settings.data)
                return HostDisks(bases: found.bases, independent: found.independent)
            })
    }

    private static func chunks(
        _ settings: AgentSettings, _ cache: ImageCache, _ source: HostChunks, _ keeper: IdentityKeeper,
        _ governor: TransferGovernor, _ time: any TimeSource, _ logger: Logger,
        status: @escaping @Sendable (ImageStatusValue) -> Void
    ) throws -> ChunkService {
        let host = settings.chunkHost.contains(":") ? "[\(settings.chunkHost)]" : settings.chunkHost
        let address = "\(host):\(settings.chunkPort)"
        let counters = TransferCounters()
        return try ChunkService(
            cache: cache, identity: keeper, logger: logger,
            makeServer: { credentials throws(TransferError) in
                var configuration = ChunkServer.Configuration(address: address, credentials: credentials)
                configuration.governor = governor
                return try ChunkServer(
                    configuration: configuration, source: source,
                    authorise: { peer, image in source.mayServe(image, to: peer) },
                    verify: { keeper.verify($0, at: time.timestamp) }, logger: logger, counters: counters)
            }, status: status)
    }

    private static func inventory(
        _ settings: AgentSettings, _ parts: HostParts, _ cache: ImageCache, _ chunks: ChunkService,
        _ manager: ManagerAddress, _ files: BlockingThreads
    ) -> InventoryKeeper {
        let sources = InventoryKeeper.Sources(
            engine: parts.describe, devices: parts.devices, heldImages: { cache.held() },
            chunkAddress: {
                if let told = settings.chunkAdvertise { return told }
                let host = LocalAddress.towards(manager) ?? settings.chunkHost
                return host.contains(":") ? "[\(host)]:\(chunks.port)" : "\(host):\(chunks.port)"
            }, topology: { HostTopologyReader(sysfsRoot: settings.sysfs).read() })
        return InventoryKeeper(
            facts: HostFacts(), sources: sources, cacheFolder: settings.cache,
            cacheBudgetBytes: settings.cacheBudgetBytes, subnet: settings.subnet, location: settings.location,
            copiesDisks: parts.copies != nil, passesDevices: parts.keeper != nil, thread: files)
    }

    static func usage(
        _ settings: AgentSettings, _ parts: HostParts, _ boot: BootID, _ time: any TimeSource, _ logger: Logger,
        kept: @escaping @Sendable () -> Void
    ) throws -> UsageService {
        let opened = try UsageSpool.open(
            folder: settings.data + "/usage", budgetBytes: settings.usageBudgetBytes,
            newID: SpoolID.generate(at: time.timestamp))
        for notice in opened.notices { notice.log(to: logger) }
        let sampler = Sampler(state: opened.state, boot: boot, at: time.timestamp)
        return UsageService(
            host: parts.guests, recorder: UsageRecorder(sampler: sampler, spool: opened.spool),
            interval: settings.usageInterval ?? .seconds(10), time: time, logger: logger, kept: kept)
    }
}

/// Why an agent does not start, beyond what its parts say.
enum AgentProblem: Error, CustomStringConvertible {
    case badManagerAddress(String)
    case noManagerAddress
    case alreadyJoined(folder: String)
    case badSubnet(String)

    var description: String {
        switch self {
        case .badManagerAddress(let text):
            "manager.address is '\(text)', but must be host:port of the manager's port for agents, such as "
                + "manager.example.org:7401, or several of them with commas between"
        case .noManagerAddress:
            "nobody has said where the manager is; set manager.address or join again"
        case .alreadyJoined(let folder):
            "this host has joined a site already (\(folder)); give --force to join anew under a new identity"
        case .badSubnet(let text):
            "network.subnet is '\(text)', but must be an IPv4 network with 8 to 29 bits, such as 192.168.177.0/24"
        }
    }
}

enum DataFolder {
    /// Makes the folder if need be and keeps others off it. QEMU's user must pass through to the disks below.
    static func open(_ path: String) throws -> FolderLock {
        try HostFileSystem().makeFolder(path, mode: 0o711)
        return try FolderLock(folder: path)
    }
}

enum AgentVersion {
    static let current = "0.1.0"
}
