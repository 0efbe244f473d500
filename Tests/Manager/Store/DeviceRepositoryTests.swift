import ManagerModel
import ProtocolModel
import Testing
import TestsSupportStore

@testable import ManagerStore

@Suite("Devices in the record")
struct DeviceRepositoryTests {
    private static let now = Timestamp(milliseconds: 1_790_000_000_000)

    private func withStore(_ engine: StoreEngine, _ body: (Store) async throws -> Void) async throws {
        let place = try StorePlace(engine)
        let store = try Store(place.location)
        try await body(store)
        store.close()
        withExtendedLifetime(place) {}
    }

    private static func node(_ name: String) -> Node {
        var node = Node(id: .generate(at: now), name: name, certificateSerial: name, joinedAt: now)
        node.liveness = .alive
        return node
    }

    /// - Parameter age: tells in which order identifiers are.
    private static func device(_ node: Node, _ address: String, _ aliases: [String], age: Int = 0) -> Device {
        var facts = PCIDevice(
            address: address, vendor: 0x10DE, product: 0x11BF, classCode: 0x030000, iommuGroup: nil, numaNode: 1,
            driver: "nvidia")
        facts.groupMembers = ["0000:3b:00.1"]
        let found = now + .milliseconds(age)
        var device = Device(id: .generate(at: found), node: node.id, facts: facts, at: found)
        device.aliases = aliases
        device.objection = aliases.isEmpty ? "no rule gives it an alias" : nil
        return device
    }

    @Test("devices and rules come back as they went in, and go", arguments: StoreEngine.allCases)
    func roundTrip(_ engine: StoreEngine) async throws {
        try await withStore(engine) { store in
            let node = Self.node("cn1")
            let made = Self.device(node, "0000:3b:00.0", ["K2_Grid", "any"])
            var match = DeviceMatch()
            (match.vendor, match.product, match.classPrefix, match.node) = (0x10DE, 0x11BF, "03", "cn%_*")
            var rule = DeviceRule(
                id: .generate(at: Self.now), action: .alias, alias: "K2_Grid", match: match, description: "ü",
                createdAt: Self.now, updatedAt: Self.now)
            let first = rule
            try await store.write { sql in
                try sql.nodes.insert(node)
                try sql.devices.insert(made)
                try sql.devices.insert(first)
            }
            #expect(try await store.read { try $0.devices.find(made.id) } == made)
            #expect(try await store.read { try $0.devices.rule(first.id) } == first)
            var device = made
            device.isPresent = false
            device.aliases = []
            device.objection = "denied"
            device.quarantineReason = "smells"
            device.quarantinedAt = Self.now + .seconds(1)
            device.changedAt = Self.now + .seconds(1)
            device.facts.driver = "vfio-pci"
            rule.alias = "other"
            rule.match.node = nil
            rule.updatedAt = Self.now + .seconds(1)
            let (changed, second) = (device, rule)
            try await store.write { sql in
                try sql.devices.update(changed)
                try sql.devices.update(second)
            }
            #expect(try await store.read { try $0.devices.list(on: node.id) } == [changed])
            #expect(try await store.read { try $0.devices.rules() } == [second])
            // With the node goes what it had; a rule goes by itself.
            try await store.write { sql in
                try sql.nodes.remove(node, at: Self.now)
                try sql.devices.remove(second.id)
            }
            #expect(try await store.read { try $0.devices.list().count + $0.devices.rules().count } == 0)
        }
    }

    @Test("a device has one row for its address in a node", arguments: StoreEngine.allCases)
    func once(_ engine: StoreEngine) async throws {
        try await withStore(engine) { store in
            let node = Self.node("cn1")
            try await store.write { sql in
                try sql.nodes.insert(node)
                try sql.devices.insert(Self.device(node, "0000:3b:00.0", []))
            }
            await #expect(throws: StoreError.self) {
                try await store.write { try $0.devices.insert(Self.device(node, "0000:3b:00.0", [])) }
            }
        }
    }

    @Test(
        "lists know how the nodes are, find an alias as it is written, and go page by page",
        arguments: StoreEngine.allCases)
    func lists(_ engine: StoreEngine) async throws {
        try await withStore(engine) { store in
            let first = Self.node("b")
            var (second, third) = (Self.node("a"), Self.node("c"))
            second.enabled = false
            third.liveness = .suspect
            let nodes = [first, second, third]
            let disabled = second.id
            var devices = nodes.enumerated().map { Self.device($1, "0000:3b:00.0", ["K2_Grid"], age: $0) }
            devices.append(Self.device(first, "0000:5e:00.0", ["K2xGrid", "K2"], age: 3))
            devices.append(Self.device(first, "0000:af:00.0", [], age: 4))
            devices.append(Self.device(first, "0000:d8:00.0", ["k2_grid"], age: 5))
            devices[5].quarantineReason = "smells"
            let all = devices
            try await store.write { sql in
                for node in nodes {
                    try sql.nodes.insert(node)
                    try sql.nodes.update(node)
                }
                for device in all { try sql.devices.insert(device) }
            }
            func found(alias: String? = nil, _ page: Page = .everything) async throws -> [Int] {
                let listed = try await store.read { try $0.devices.hosted(alias: alias, page) }
                for hosted in listed {
                    let node = try #require(nodes.first { $0.id == hosted.device.node })
                    #expect(hosted.nodeName == node.name && hosted.isNodeEnabled == node.enabled)
                    #expect(hosted.isNodeAlive == (node.liveness == .alive))
                }
                return listed.compactMap { hosted in all.firstIndex { $0.id == hosted.device.id } }
            }
            #expect(try await found() == [0, 1, 2, 3, 4, 5])
            #expect(try await found(alias: "K2_Grid") == [0, 1, 2])
            #expect(try await found(alias: "K2") == [3])
            #expect(try await found(alias: "k2_grid") == [5])
            #expect(try await found(alias: "%").isEmpty)
            for (column, value, wanted) in [
                ("standing", .text("free"), [0, 3]), ("standing", .text("disabled"), [1]),
                ("standing", .text("offline"), [2]), ("standing", .text("unusable"), [4]),
                ("standing", .text("quarantined"), [5]), ("is_free", .number(1), [0, 3]),
                ("is_free", .number(0), [1, 2, 4, 5]), ("is_quarantined", .number(1), [5]),
                ("node_id", .text("\(disabled)"), [1]), ("address", .text("0000:3b:00.0"), [0, 1, 2]),
            ] as [(String, ColumnValue, [Int])] {
                var page = Page.everything
                page.filters = [ListFilter(column: column, value: value)]
                #expect(try await found(page) == wanted, "\(column) \(value)")
            }
            // What the record says of each is what the model says of it.
            for hosted in try await store.read({ try $0.devices.hosted() }) {
                var page = Page.everything
                page.filters = [ListFilter(column: "standing", value: .text(hosted.status.rawValue))]
                let index = all.firstIndex { $0.id == hosted.device.id } ?? -1
                #expect(try await found(page).contains(index))
                #expect(try await store.read { try $0.devices.hosted(hosted.device.id) } == hosted)
            }
            var (page, order, seen) = (Page(limit: 2), ListOrder(), [Int]())
            order.keys = [.init(column: "node_name"), .init(column: "address", isDescending: true)]
            page.order = order
            while true {
                let part = try await found(page)
                guard let last = part.last else { break }
                seen += part
                page.after = "\(all[last].id)"
                page.afterValues = [
                    .text(nodes.first { $0.id == all[last].node }?.name ?? ""), .text(all[last].facts.address),
                ]
            }
            #expect(seen == [1, 5, 4, 3, 0, 2])
        }
    }
}
