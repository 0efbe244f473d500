import ManagerModel
import ManagerPlacement
import ManagerStore
import ProtocolModel
import Testing
import TestsSupportRandomness

@testable import ManagerLifecycle

/// The copy of the hosts that placement decides by is what the record says, whatever came before and whatever was undone.
@Suite("Host directory")
struct HostDirectoryTests {
    private struct Undone: Error {}

    @Test("holds what the record holds after any mix of changes, undone ones too", arguments: 0..<12)
    func likeTheRecord(seed: UInt64) async throws {
        let record = try await TestRecord(hosts: 5)
        var random = SeededNumbers(state: seed)
        var hosts = 5
        for _ in 0..<60 {
            let (choice, number) = (
                Int.random(in: 0..<11, using: &random), Int.random(in: 1...max(1, hosts), using: &random)
            )
            let count = Int.random(in: 1...6, using: &random)
            let isUndone = Int.random(in: 0..<3, using: &random) == 0
            if choice == 0 { hosts += 1 }
            let (now, newest, image) = (record.now, hosts, record.image.id)
            try? await record.request(by: record.root) { commands in
                let sql = commands.sql
                let node = try sql.nodes.find(name: "cn\(number)")
                switch choice {
                case 0: try sql.nodes.insert(TestRecord.host(newest, at: now))
                case 1:
                    guard var node else { break }
                    node.enabled.toggle()
                    try sql.nodes.update(node)
                case 2:
                    guard var node else { break }
                    node.inventory.cpuCount = count
                    node.inventory.guestSubnet = "10.77.\(number).0/\(24 + count % 3)"
                    try sql.nodes.update(node)
                case 3:
                    guard let node, node.instanceCount == 0 else { break }
                    try sql.nodes.remove(node, at: now)
                case 4:
                    guard let node, var copy = try sql.images.placement(of: image, on: node.id) else { break }
                    copy.state = copy.state == .held ? .fetching : .held
                    try sql.images.update(copy, assigned: false)
                case 5, 6:
                    guard let node else { break }
                    var filter = InstanceRepository.Filter()
                    filter.node = node.id
                    for instance in try sql.instances.list(filter).prefix(2) {
                        try sql.instances.finishDeletion(instance)
                    }
                case 7:
                    guard let node else { break }
                    if try sql.aggregates.find(name: "a") == nil {
                        _ = try commands.createAggregate(name: "a", metadata: [:])
                    }
                    let group = try commands.aggregate("a")
                    if try sql.aggregates.contains(node.id, in: group.id) {
                        _ = try commands.removeNode(node.name, from: "a")
                    } else {
                        _ = try commands.addNodes([node.name], to: "a")
                    }
                case 8:
                    guard try sql.aggregates.find(name: "a") != nil else { break }
                    _ = try commands.updateAggregate(
                        "a", name: nil, metadata: ["cpu_allocation_ratio": "\(count)", "gpu": "\(count % 2 == 0)"])
                default:
                    // Where there is no room for all, the claims of those that were placed are undone with the request.
                    _ = try commands.createInstances(
                        InstanceCreation(name: "i", flavor: "small", image: "debian", count: count))
                }
                if isUndone { throw Undone() }
            }
            try await record.request(by: record.root) { commands in
                let sql = commands.sql
                let kept = try HostDirectory.of(sql).everything(in: sql, at: now, image: image)
                let fresh = try HostDirectory().everything(in: sql, at: now, image: image)
                #expect(kept == fresh)
            }
        }
    }

    @Test("gives each address once, also where a request was undone or an instance left")
    func addresses() async throws {
        let record = try await TestRecord(hosts: 1)
        let first = try await record.create("a", by: record.ann, count: 2)
        #expect(first.compactMap(\.ipAddress) == ["10.77.1.2", "10.77.1.3"])
        await #expect(throws: Undone.self) {
            try await record.request(by: record.ann) { commands in
                _ = try commands.createInstances(InstanceCreation(name: "b", flavor: "small", image: "debian"))
                throw Undone()
            }
        }
        #expect(try await record.create("c", by: record.ann)[0].ipAddress == "10.77.1.4")
        try await record.request(by: record.root) { try $0.sql.instances.finishDeletion(first[0]) }
        #expect(try await record.create("d", by: record.ann)[0].ipAddress == "10.77.1.2")
    }

    @Test("a host that changed behind the copy's back gets nothing that it cannot take (P3, P6)")
    func behindItsBack() async throws {
        let record = try await TestRecord(hosts: 2)
        try await record.request(by: record.root) { commands in
            let (sql, now) = (commands.sql, commands.now)
            let request = PlacementRequest(vcpus: 1, ramMiB: 1, diskGiB: 1)
            let directory = HostDirectory()
            _ = try directory.everything(in: sql, at: now, image: record.image.id)
            // As another manager would: nothing tells this copy.
            var first = try #require(try sql.nodes.find(name: "cn1"))
            first.enabled = false
            try sql.nodes.update(first)
            _ = sql.nodeChanges.take()
            guard case .placed(let node) = try directory.place(request, in: sql, at: now) else {
                Issue.record("there is room on cn2")
                return
            }
            #expect(node.name == "cn2")
        }
    }
}
