import ArgumentParser
import Foundation
import ManagerModel
import ManagerStore
import ProtocolModel

/// Puts many nodes and instances into a store that a manager will open.
struct Populate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "populate")

    @Option(help: "The store's file, made by `roost-manager init`.")
    var store: String

    @Option(help: "Nodes that have joined and were never heard.")
    var nodes = 25_000

    @Option(help: "Instances, spread over the nodes, all ACTIVE.")
    var instances = 100_000

    @Option(help: "A file for a line for each node: its ID, then its instances' IDs.")
    var ids: String?

    func run() async throws {
        let record = try Store(path: store)
        let fleet = try await Population(nodes: nodes, instances: instances).insert(
            into: record, at: SystemTime().timestamp)
        record.close()
        if let ids {
            let lines = fleet.map { node, instances in
                ([node.description] + instances.map(\.description)).joined(separator: " ") + "\n"
            }
            try lines.joined().write(toFile: ids, atomically: false, encoding: .utf8)
        }
    }
}

/// Rows as a site of that size has them.
struct Population {
    var nodes: Int
    var instances: Int

    /// - Returns: each node's instances.
    func insert(into record: Store, at now: Timestamp) async throws -> [(node: NodeID, instances: [InstanceID])] {
        let (flavor, image, owner) = try await record.write { sql in try Self.insertCommon(sql, at: now) }
        var fleet: [(node: NodeID, instances: [InstanceID])] = []
        for first in stride(from: 0, to: nodes, by: 500) {
            let range = first..<min(nodes, first + 500)
            fleet += try await record.write { sql in
                try range.map { number in
                    let node = Self.node(number, at: now)
                    try sql.nodes.insert(node)
                    // As evenly as they go.
                    let ids = try (number * instances / nodes..<(number + 1) * instances / nodes).map { index in
                        try Self.insertInstance(index, on: node, flavor, image, owner, at: now, in: sql)
                    }
                    return (node.id, ids)
                }
            }
        }
        return fleet
    }

    private static func insertCommon(_ sql: Transaction, at now: Timestamp) throws -> (Flavor, Image, User) {
        let owner: User
        if let known = try sql.users.list(.everything, Page(limit: 1)).first {
            owner = known
        } else {
            owner = User(
                id: .generate(at: now), name: "measure", role: .superuser, account: "default", email: nil,
                passwordHash: "", tokensValidAfter: now, createdAt: now)
            try sql.users.insert(owner)
        }
        let flavor = Flavor(
            id: .generate(at: now), name: "populated", vcpus: 1, ramMiB: 512, diskGiB: 1, createdAt: now)
        try sql.flavors.insert(flavor)
        let image = Image(
            id: .generate(at: now), name: "populated", owner: owner.id, visibility: .public, status: .active,
            sizeBytes: 1 << 20, createdAt: now, updatedAt: now)
        try sql.images.insert(image)
        return (flavor, image, owner)
    }

    private static func node(_ number: Int, at now: Timestamp) -> Node {
        var node = Node(
            id: .generate(at: now), name: "populated-\(number)", certificateSerial: "\(number)", joinedAt: now)
        node.liveness = .down
        node.inventory.hostName = node.name
        node.inventory.cpuModel = "Simulated CPU @ 2.40GHz"
        node.inventory.architecture = "x86_64"
        node.inventory.cpuCount = 64
        node.inventory.memoryBytes = 256 << 30
        node.inventory.diskBytes = 2 << 40
        node.inventory.guestSubnet = "192.168.177.0/24"
        node.inventory.pciDevices = (0..<8).map { slot in
            PCIDevice(
                address: "0000:\(slot)0:00.0", vendor: 0x10DE, product: 0x2330, classCode: 0x030200, iommuGroup: slot,
                numaNode: slot % 2, driver: "vfio-pci")
        }
        return node
    }

    private static func insertInstance(
        _ number: Int, on node: Node, _ flavor: Flavor, _ image: Image, _ owner: User, at now: Timestamp,
        in sql: Transaction
    ) throws -> InstanceID {
        var instance = Instance(
            id: .generate(at: now), name: "populated-\(number)", owner: owner.id, account: owner.account,
            flavor: flavor,
            image: image.id, keyName: nil, sshKeys: [], userData: [], metadata: [:], hostName: "populated-\(number)",
            node: node.id, macAddress: Self.cardAddress(number), ipAddress: "192.168.177.\(2 + number % 250)",
            createdAt: now)
        instance.status = .active
        instance.readyAt = now
        try sql.instances.insert(instance)
        return instance.id
    }

    private static func cardAddress(_ number: Int) -> String {
        let digits = String(number, radix: 16)
        let padded = Array(String(repeating: "0", count: 8 - digits.count) + digits)
        return "52:54:" + stride(from: 0, to: 8, by: 2).map { String(padded[$0...$0 + 1]) }.joined(separator: ":")
    }
}
