import Foundation
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolMessages
import ProtocolModel
import SwiftProtobuf
import Testing

@testable import ManagerFleet

@Suite("Devices, as nodes are told of them")
struct DeviceMessageTests {
    @Test(
        "an instance's assignment names what it asked for, while it holds it; what goes along is the host's to see to")
    func assignment() async throws {
        let place = NSTemporaryDirectory() + "roost-devices-\(UUID()).sqlite"
        defer { for end in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: place + end) } }
        let store = try Store(path: place)
        defer { store.close() }
        let now = Timestamp(milliseconds: 1_800_000_000_000)
        let node = Node(id: .generate(at: now), name: "cn1", certificateSerial: "1", joinedAt: now)
        let owner = User(
            id: .generate(at: now), name: "ann", role: .user, account: "default", email: nil, passwordHash: "",
            tokensValidAfter: now, createdAt: now)
        let flavor = Flavor(
            id: .generate(at: now), name: "gpu", vcpus: 1, ramMiB: 64, diskGiB: 1,
            properties: ["pci_passthrough:alias": "k2:1"], createdAt: now)
        let image = Image(
            id: .generate(at: now), name: "debian", owner: owner.id, visibility: .public, status: .active, sizeBytes: 1,
            createdAt: now, updatedAt: now)
        let instance = Instance(
            id: .generate(at: now), name: "vm", owner: owner.id, account: "default", flavor: flavor, image: image.id,
            keyName: nil, sshKeys: [], userData: [], metadata: [:], hostName: "vm", node: node.id,
            macAddress: "52:54:00:00:00:01", ipAddress: "10.0.0.2", createdAt: now)
        let assigned = try await store.write { sql in
            try sql.nodes.insert(node)
            try sql.users.insert(owner)
            try sql.flavors.insert(flavor)
            try sql.images.insert(image)
            try sql.instances.insert(instance)
            for (slot, alias) in [(1, "k2"), (2, ""), (3, nil)] as [(Int, String?)] {
                var device = Device(
                    id: .generate(at: now), node: node.id,
                    facts: PCIDevice(
                        address: "0000:0\(slot):00.0", vendor: 0x10DE, product: 1, classCode: 0x030000, iommuGroup: 1,
                        numaNode: 0, driver: ""), at: now)
                device.claim = alias.map { DeviceClaim(instance: instance.id, alias: $0, since: now) }
                try sql.devices.insert(device)
            }
            return try AssignmentMessages(
                sql: sql, node: node.id, settings: LifecycleSettings(), managerChunkAddress: ":7403"
            ).set(since: nil)?.instances.first?.devices
        }
        #expect(assigned == [.with { ($0.address, $0.alias) = ("0000:01:00.0", "k2") }])
        // Where it lies and what its hardware is, where the record says so.
        let told = try await store.write { sql in
            var host = try #require(try sql.nodes.find(node.id))
            host.inventory.topology = HostTopology([
                .init(number: 0, memoryMiB: 64, cores: [[0, 1], [2, 3]]),
                .init(number: 1, memoryMiB: 64, cores: [[4], [5]]),
            ])
            host.dedicatedCPUs = ProcessorSet("2-4")
            try sql.nodes.update(host)
            var other = instance
            // They come in the order of their IDs, which is that of time.
            other.id = .generate(at: now + .seconds(1))
            (other.macAddress, other.ipAddress) = ("52:54:00:00:00:02", "10.0.0.3")
            other.hardware = ["hw_disk_bus": "sata"]
            try sql.instances.insert(other)
            let place = GuestPlace(
                cells: [
                    .init(host: 0, vcpus: 1, memoryMiB: 32, processors: [2]), .init(host: 1, vcpus: 1, memoryMiB: 32),
                ], pageKiB: 2048)
            try sql.instances.setPlace(place, of: other.id, on: host)
            return try #require(
                try AssignmentMessages(
                    sql: sql, node: node.id, settings: LifecycleSettings(), managerChunkAddress: ":7403"
                ).set(since: nil)
            ).instances
        }
        #expect(told.map(\.hardware) == [[:], ["hw_disk_bus": "sata"]])
        #expect(told.first?.place == .with { $0.sharedProcessors = "0-1,5" })
        #expect(told.last?.place.pageBytes == 2 << 20 && told.last?.place.sharedProcessors == "0-1,5")
        #expect(told.last?.place.cells.map(\.processors) == [[2], []])
        #expect(told.last?.place.cells.map(\.sharedProcessors) == ["", "5"])
        #expect(told.last?.place.cells.map(\.memoryBytes) == [32 << 20, 32 << 20])
        // Where processors have gone, none may be left; that is not all of them.
        let none = try await store.write { sql in
            var host = try #require(try sql.nodes.find(node.id))
            host.inventory.topology = HostTopology([.init(number: 0, memoryMiB: 64, cores: [[2, 3]])])
            host.dedicatedCPUs = ProcessorSet("2-4")
            try sql.nodes.update(host)
            return try #require(
                try AssignmentMessages(
                    sql: sql, node: node.id, settings: LifecycleSettings(), managerChunkAddress: ":7403"
                ).set(since: nil)
            ).instances.first?.place
        }
        #expect(none == .with { $0.sharesNone = true })
    }
}
