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
        device.objection = aliases.isEmpty ? DeviceObjection(.nameless, "no rule gives it an alias") : nil
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
            device.objection = DeviceObjection(.denied, "denied")
            device.partitions = [.generate(at: Self.now), .generate(at: Self.now)]
            device.facts.iommuGroup = 7
            device.quarantineReason = "smells"
            device.quarantinedAt = Self.now + .seconds(1)
            device.changedAt = Self.now + .seconds(1)
            device.facts.driver = "vfio-pci"
            rule.alias = "other"
            rule.sets = [["0000:3b:00.0", "0000:5e:00.0"], ["0000:3b:00.0"]]
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

    @Test("what the migration fills in is what is written since", arguments: StoreEngine.allCases)
    func migration(_ engine: StoreEngine) async throws {
        let place = try StorePlace(engine)
        var store = try Store(place.location)
        let node = Self.node("cn1")
        var devices = ["0000:3b:00.0", "0000:5e:00.0", "0000:af:00.0"].map { Self.device(node, $0, ["a"]) }
        (devices[0].facts.iommuGroup, devices[0].facts.numaNode) = (7, nil)
        for index in devices.indices { devices[index].heed(DeviceRules([]), node: "cn1") }
        devices[1].facts.unusableReason = "the IOMMU is off"
        devices[1].heed(DeviceRules([]), node: "cn1")
        let all = devices
        let flavors = ["a100:2,t4:1", "t4", ""].map { aliases in
            Flavor(
                id: .generate(at: Self.now), name: "f\(aliases)", vcpus: 2, ramMiB: 512, diskGiB: 1,
                properties: aliases.isEmpty ? [:] : ["pci_passthrough:alias": aliases], createdAt: Self.now)
        }
        let owner = UserID.generate(at: Self.now)
        let instances = flavors.enumerated().map { number, flavor in
            Instance(
                id: .generate(at: Self.now), name: "i", owner: owner, account: "default", flavor: flavor,
                image: .generate(at: Self.now), keyName: nil, sshKeys: [], userData: [], metadata: [:], hostName: "i",
                node: node.id, macAddress: "52:54:00:00:00:0\(number)", ipAddress: "10.0.0.\(number)",
                createdAt: Self.now)
        }
        try await store.write { sql in
            try sql.nodes.insert(node)
            for device in all { try sql.devices.insert(device) }
            for instance in instances { try sql.instances.insert(instance) }
        }
        func rows(_ store: Store) async throws -> [String] {
            try await store.read { sql in
                try sql.query("SELECT * FROM instance_devices ORDER BY instance_id, alias").map {
                    "\(try $0.text("instance_id")) \(try $0.text("alias")) \(try $0.int("devices"))"
                }
            }
        }
        let before = try await rows(store)
        let use = try await store.read { try $0.quotas.use(of: .user(owner)) }
        #expect(use.devices == ["a100": 2, "t4": 2] && before.count == 3)
        try await store.write { sql in
            try sql.execute("UPDATE devices SET iommu_group = NULL, numa_node = NULL, objection_kind = NULL")
            try sql.execute("DELETE FROM instance_devices")
            try sql.execute("DELETE FROM device_quota_use")
        }
        store.close()
        try place.location.connection().run("DELETE FROM schema_migrations WHERE number = 24")
        store = try Store(place.location)
        #expect(try await store.read { try $0.devices.list(on: node.id) } == all)
        #expect(
            Set(try await store.read { try $0.devices.places() }.map { "\($0)" })
                == Set(all.map { "\(DevicePlace($0))" }))
        #expect(try await rows(store) == before)
        #expect(try await store.read { try $0.quotas.use(of: .user(owner)) } == use)
        store.close()
        withExtendedLifetime(place) {}
    }

    @Test("what a rule may be about is found without reading the rest", arguments: StoreEngine.allCases)
    func fitting(_ engine: StoreEngine) async throws {
        try await withStore(engine) { store in
            let nodes = [Self.node("cn1"), Self.node("hgx1")]
            var devices = nodes.flatMap { node in
                ["0000:3b:00.0", "0000:5e:00.0"].map { Self.device(node, $0, ["a"]) }
            }
            devices[3].facts.product = 0x20B0
            devices[3].facts.productName = "A100"
            let all = devices
            try await store.write { sql in
                for node in nodes { try sql.nodes.insert(node) }
                for device in all { try sql.devices.insert(device) }
            }
            func found(_ changes: [(inout DeviceMatch) -> Void]) async throws -> Set<DeviceID> {
                let matches = changes.map { change in
                    var match = DeviceMatch()
                    change(&match)
                    return match
                }
                return try await store.read {
                    Set(try $0.devices.list(fitting: matches, on: $0.nodes.names()).map(\.id))
                }
            }
            let ids = all.map(\.id)
            #expect(try await found([{ _ in }]) == Set(ids))
            #expect(try await found([{ $0.product = 0x20B0 }]) == [ids[3]])
            #expect(try await found([{ $0.product = 0x20 }, { $0.vendor = 0x10D }]).isEmpty)
            #expect(try await found([{ $0.node = "HGX*" }]) == [ids[2], ids[3]])
            #expect(try await found([{ $0.address = "*:3b:*" }, { $0.name = "*a100" }]) == [ids[0], ids[2], ids[3]])
            var changed = all[0]
            changed.aliases = []
            changed.objection = DeviceObjection(.denied, "a rule denies it")
            changed.partitions = [.generate(at: Self.now)]
            let offer = changed
            try await store.write { try $0.devices.updateOffer(offer) }
            #expect(try await store.read { try $0.devices.find(ids[0]) } == offer)
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
            // One count of all is that of each, and places are what the devices say.
            let names = ["K2", "K2_Grid", "k2_grid", "none"]
            let numbers = try await store.read { try $0.devices.numbers(of: names) }
            #expect(try await store.read { sql in try names.map { try sql.devices.numbers(of: $0) } } == numbers)
            #expect(numbers[1].total == 3 && numbers[1].free == 1 && numbers[1].disabled == 1)
            let places = try await store.read { try $0.devices.places() }
            #expect(Set(places.map { "\($0)" }) == Set(all.map { "\(DevicePlace($0))" }))
            #expect(places.map { "\($0.node) \($0.address)" } == places.map { "\($0.node) \($0.address)" }.sorted())
            #expect(try await store.read { try $0.devices.places(on: first.id).count } == 4)
            #expect(try await store.read { try $0.devices.places(inSetsOf: "K2_Grid") }.isEmpty)
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
