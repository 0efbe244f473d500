import Foundation
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolMessages
import ProtocolModel
import SwiftProtobuf
import Testing

@testable import ManagerFleet

@Suite("What a lost host is told when it is back")
struct FormerPlacementTests {
    @Test("the instance that left is to be removed there, under its old epoch, until it is; its new host gets it")
    func sets() async throws {
        let place = NSTemporaryDirectory() + "roost-former-\(UUID()).sqlite"
        defer { for end in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: place + end) } }
        let store = try Store(path: place)
        defer { store.close() }
        let now = Timestamp(milliseconds: 1_800_000_000_000)
        let nodes = (1...2).map {
            Node(id: .generate(at: now), name: "cn\($0)", certificateSerial: "\($0)", joinedAt: now)
        }
        let flavor = Flavor(id: .generate(at: now), name: "s", vcpus: 1, ramMiB: 64, diskGiB: 1, createdAt: now)
        var instance = Instance(
            id: .generate(at: now), name: "vm", owner: .generate(at: now), account: "default", flavor: flavor,
            image: .generate(at: now), keyName: nil, sshKeys: [], userData: [], metadata: [:], hostName: "vm",
            node: nodes[0].id, macAddress: "52:54:00:00:00:01", ipAddress: "10.0.0.2", createdAt: now)
        instance.onHostLoss = .restart
        let before = instance
        var machine = InstanceMachine(instance)
        _ = machine.startElsewhere(on: nodes[1].id, address: "10.0.0.2", why: "off", at: now)
        let moved = machine.instance
        @Sendable func set(_ sql: Transaction, of node: Node, since: Revision?) throws -> Roost_V1_AssignmentSet? {
            try AssignmentMessages(
                sql: sql, node: node.id, settings: LifecycleSettings(), managerChunkAddress: ":7403"
            ).set(since: since)
        }
        try await store.write { sql in
            for node in nodes { try sql.nodes.insert(node) }
            try sql.instances.insert(before)
            let first = try #require(try set(sql, of: nodes[0], since: nil))
            #expect(first.instances.map(\.restartsElsewhere) == [true] && first.instances[0].desired == .running)
            try sql.instances.move(moved, from: before, at: now)

            // Also as a change of what it knew.
            for since in [nil, Revision(first.revision)] {
                let left = try #require(try set(sql, of: nodes[0], since: since))
                #expect(left.instances.map(\.desired) == [.deleted] && left.instances[0].epoch == 1)
                #expect(left.instances[0].instanceID == before.id.octets && left.removedInstances.isEmpty)
            }
            let new = try #require(try set(sql, of: nodes[1], since: nil))
            #expect(new.instances.map(\.desired) == [.running] && new.instances[0].epoch == 2)

            let told = try #require(try set(sql, of: nodes[0], since: nil)).revision
            let former = try #require(try sql.formerPlacements.find(before.id, on: nodes[0].id))
            try sql.formerPlacements.settle(former)
            let gone = try #require(try set(sql, of: nodes[0], since: Revision(told)))
            #expect(gone.instances.isEmpty && gone.removedInstances == [before.id.octets])
            #expect(try #require(try set(sql, of: nodes[0], since: nil)).instances.isEmpty)
        }
    }
}
