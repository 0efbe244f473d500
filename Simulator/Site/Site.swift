import AgentLink
import AgentManagers
import Foundation
import ManagerFleet
import ManagerLifecycle
public import ManagerModel
package import ManagerStore
import ProtocolDigest
import ProtocolMessages
public import ProtocolModel
import ProtocolTransfer
import ProtocolWire
public import SimulatorWorld
import SwiftProtobuf

/// A whole site in one thread: hosts, managers, their record, and what lies between them.
public final class Site {
    public let world: World
    public let network: Network
    let record: Record
    package var store: SynchronousStore { record.store }
    public let evidence: Evidence
    public let id: SiteID
    public let planted: PlantedFault?
    public private(set) var machines: [Machine] = []
    var agents: [SimulatedAgent?] = []
    /// How often each host has booted.
    var boots: [Int] = []
    let managers: [ManagerHost]
    /// Where each host joined, and what managers told it since.
    let configured: [[ManagerAddress]]
    var learned: [[ManagerAddress]]
    var manifests: [ImageID: Manifest] = [:]
    /// The share of pulled chunks that arrive changed.
    var badChunks = 0.0
    var guests = SimulatedHypervisor.Guests()
    var calls = SimulatedAgent.CallQuality()
    private var serials = 0
    public private(set) var administrator = Actor.console
    public private(set) var users: [Actor] = []
    let lifecycle: LifecycleSettings

    /// Chance of all that is about devices, apart from the run's own: a run without them goes as it always did. `nil`: hosts
    /// have none.
    let deviceChance: Randomness?
    /// Of one kind, in each host.
    static let devicesPerHost = 2
    static let deviceFlavors = ["one-gpu", "two-gpus"]

    public static let flavors = ["small", "large"]
    /// Instances that each user may have.
    public static let userLimit = 6

    /// Builds a site of so many hosts that have just joined. Throws where the record refuses that, which is a fault too.
    ///
    /// - Parameters:
    ///   - isShared: whether other managers could open the record; to be true where there are several.
    ///   - hasDevices: whether hosts have devices that guests can be given.
    public init(
        world: World, hosts: Int, managers count: Int, isShared: Bool, hasDevices: Bool = false, planted: PlantedFault?
    ) throws {
        self.world = world
        deviceChance = hasDevices ? Randomness(seed: world.seed ^ 0x6465_7669_6365) : nil
        self.planted = planted
        network = Network(world: world)
        evidence = Evidence(world: world)
        record = try Record(world: world, isShared: isShared)
        let managers = (0..<count).map { ManagerHost(index: $0, world: world, isExact: !isShared) }
        self.managers = managers
        let addresses = managers.map { ManagerAddress(host: $0.name) }
        configured = (0..<hosts).map { _ in
            world.random.chance(0.5) ? addresses : world.random.pick(addresses).map { [$0] } ?? []
        }
        learned = Array(repeating: [], count: hosts)
        id = .generate(at: World.epoch)
        var lifecycle = LifecycleSettings()
        lifecycle.bootTimeoutSeconds = 40
        lifecycle.stopTimeoutSeconds = 20
        self.lifecycle = lifecycle
        try found()
        for index in 0..<hosts {
            let machine = Machine(index: index, world: world, ledger: evidence.runs)
            machine.disk.put(HostBoot.source, Array("\(machine.bootID)\n".utf8))
            if planted == .journalNotSynced { machine.disk.leaveUnsynced("/assignments") }
            machines.append(machine)
            agents.append(nil)
            boots.append(0)
            let secret = "token-\(index)"
            machine.identity = try write { sql in
                _ = try self.commands(self.administrator, sql, at: World.epoch).token(secret)
                return try self.join(machine, secret, in: sql, at: World.epoch)
            }
        }
        for manager in managers { start(manager) }
        for machine in machines { startAgent(machine) }
    }

    private func write<Answer>(_ body: (Transaction) throws -> Answer) throws -> Answer {
        try store.write(by: SynchronousStore.Writer(name: "founder", isShared: record.isShared), body).result
    }

    private func found() throws {
        for (name, role) in [("root", Role.superuser), ("alice", .user), ("bob", .user)] {
            let user = User(
                id: .generate(at: World.epoch), name: name, role: role, account: name, email: nil, passwordHash: "",
                tokensValidAfter: World.epoch, createdAt: World.epoch)
            try write { try $0.users.insert(user) }
            let actor = Actor(user: user.id, name: name, role: role)
            if role == .superuser { administrator = actor } else { users.append(actor) }
        }
        try write { sql in
            for manager in managers { try sql.managers.register(manager.record(startedAt: World.epoch)) }
            let commands = self.commands(administrator, sql, at: World.epoch)
            _ = try commands.createFlavor(name: "small", vcpus: 1, ramMiB: 512, diskGiB: 2, properties: [:])
            _ = try commands.createFlavor(name: "large", vcpus: 4, ramMiB: 4096, diskGiB: 20, properties: [:])
            if deviceChance != nil { try foundDevices(commands) }
            try sql.quotas.set(Self.userLimit, .instances, of: .everyUser)
            try addImage("base", keptBy: managers[0], commands, in: sql)
        }
    }

    /// Cards called `gpu`, and flavors that ask for them.
    private func foundDevices(_ commands: Commands) throws {
        var match = DeviceMatch()
        match.vendor = 0x10DE
        _ = try commands.createDeviceRule(.alias, alias: "gpu", match: match, description: "")
        for (index, name) in Self.deviceFlavors.enumerated() {
            _ = try commands.createFlavor(
                name: name, vcpus: 1, ramMiB: 512, diskGiB: 2, properties: ["pci_passthrough:alias": "gpu:\(index + 1)"]
            )
        }
    }

    /// - Parameter now: of the manager that carries them out.
    func commands(_ actor: Actor, _ sql: Transaction, at now: Timestamp) -> Commands {
        Commands(in: sql, actor: actor, at: now, settings: lifecycle)
    }

    /// An image that was uploaded and converted.
    @discardableResult
    func addImage(
        _ name: String, keptBy manager: ManagerHost, _ commands: Commands, in sql: Transaction
    ) throws -> Image {
        let image = try commands.createImage(
            name: name, format: nil, minDiskGiB: 0, minRAMMiB: 0, properties: [:], visibility: .public)
        _ = try commands.beginUpload("\(image.id)", by: manager.id)
        let bytes = Array(repeating: Array(image.id.bytes), count: 16).flatMap { $0 }
        let digest = Manifest.digest(of: bytes)
        _ = try commands.beginConversion(image.id, uploadBytes: Int64(bytes.count), checksum: digest)
        // Two chunks of zeros and a short one.
        let size = Int64(2 * Limits.chunkBytes + bytes.count)
        let zeros = [UInt8](repeating: 0, count: 2 * ContentDigest.byteCount)
        let manifest = try Manifest(image: image.id, sizeBytes: size, chunkDigests: zeros + digest.bytes)
        manifests[image.id] = manifest
        evidence.imageBytes[image.id] = bytes
        try commands.finishImport(
            image.id, .init(format: "raw", sizeBytes: size, manifestDigest: manifest.digest))
        return image
    }

    // MARK: Agents

    func startAgent(_ machine: Machine) {
        guard machine.isUp, agents[machine.index] == nil else { return }
        do {
            let agent = try SimulatedAgent(machine: machine, site: self)
            agent.calls = calls
            agents[machine.index] = agent
            world.trace.note(world, "agent starts", UInt64(machine.index), 0, machine.name)
        } catch {
            // As systemd does it.
            world.trace.note(world, "agent does not start", UInt64(machine.index), 0, "\(machine.name): \(error)")
            world.after(.seconds(2)) { self.startAgent(machine) }
        }
    }

    /// Ends an agent's process and starts another after a while; guests run on.
    func restartAgent(_ machine: Machine, after delay: SimulatedTime) {
        guard let agent = agents[machine.index] else { return }
        machine.noteFault(lasting: delay)
        agent.kill()
        agents[machine.index] = nil
        world.after(delay) { self.startAgent(machine) }
    }

    /// The agent died in a call of its disk.
    func agentDied(_ machine: Machine) {
        restartAgent(machine, after: world.random.time(.milliseconds(200)...(.seconds(8))))
    }

    /// The power of a host goes and comes again.
    func reboot(_ machine: Machine, after delay: SimulatedTime) {
        guard machine.isUp else { return }
        machine.noteFault(lasting: delay)
        machine.isUp = false
        boots[machine.index] += 1
        world.trace.note(world, "power lost", UInt64(machine.index), 0, machine.name)
        agents[machine.index]?.kill()
        agents[machine.index] = nil
        machine.hypervisor.losePower()
        machine.disk.losePower()
        for (image, held) in machine.images where !held.chunks.isComplete { machine.images[image] = nil }
        var random = world.random
        machine.bootID = .generate(at: World.epoch, using: &random)
        machine.disk.put(HostBoot.source, Array("\(machine.bootID)\n".utf8))
        world.after(delay) {
            machine.isUp = true
            machine.bootedAt = self.world.now
            self.startAgent(machine)
        }
    }

    // MARK: Joining

    /// Gives a host a place in the site for a token.
    func join(
        _ machine: Machine, _ secret: String, in sql: Transaction, at now: Timestamp
    ) throws -> Machine.Identity {
        serials += 1
        let serial = "serial\(serials)"
        let request = Roost_V1_EnrolmentRequest.with {
            $0.joinToken = secret
            $0.nodeName = machine.name
            $0.softwareVersion = "0.0"
        }
        let node = try Enrolment.join(request, at: now, in: sql) { _ in serial }
        return Machine.Identity(node: node, serial: serial)
    }

    func inventory(of machine: Machine) -> Roost_V1_Inventory {
        .with {
            $0.hostName = machine.name
            $0.architecture = "x86_64"
            $0.cpuCount = 8
            $0.memoryBytes = 16 << 30
            $0.diskBytes = 100 << 30
            $0.heedsRestartsElsewhere = true
            $0.guestSubnet = "10.77.\(machine.index).0/28"
            $0.chunkAddress = "\(machine.name):7402"
            guard deviceChance != nil else { return }
            $0.passesDevices = true
            $0.pciDevices = (1...Self.devicesPerHost).map { slot in
                .with {
                    $0.address = "0000:0\(slot):00.0"
                    ($0.vendor, $0.product, $0.classCode) = (0x10DE, 0x11BF, 0x030000)
                    $0.iommuGroup = Int32(slot)
                    $0.numaNode = 0
                    $0.isUsable = true
                }
            }
        }
    }

    /// Remembers what a batch held when it was sent: the same number always holds the same.
    func note(_ batch: Roost_V1_UsageBatch) {
        guard let spool = SpoolID(bytes: batch.spoolID) else { return }
        let key = Evidence.BatchKey(spool: spool, number: batch.number)
        let samples = batch.samples.compactMap { sample in
            InstanceID(bytes: sample.instanceID).map {
                Evidence.Sample(instance: $0, from: sample.fromMs, to: sample.toMs)
            }
        }
        if let known = evidence.batches[key] {
            if known.samples != samples {
                evidence.broken("P4", "batch \(batch.number) of a spool was sent with two contents")
            }
        } else {
            evidence.batches[key] = (samples, world.now)
        }
    }

    // MARK: At the end

    /// Batches that agents still hold.
    public func unacknowledgedBatches(of machine: Machine) -> Int {
        agents[machine.index]?.unacknowledgedBatches() ?? 0
    }

    public func hasSession(_ machine: Machine) -> Bool { agents[machine.index]?.uplink.isEstablished ?? false }
}

extension Commands {
    /// Records a join token.
    func token(_ secret: String) throws -> JoinToken {
        try createJoinToken(
            secretHash: ContentDigest(hashing: Array(secret.utf8)), nodeName: nil, lifetimeSeconds: 3600)
    }
}

extension Site {
    /// Lets everything go, since what runs and what it runs in know each other.
    public func close() {
        for manager in managers { manager.process?.kill() }
        agents = []
        evidence.runs.started = nil
        evidence.runs.cut = nil
        for machine in machines { machine.hypervisor.listener = nil }
    }
}
