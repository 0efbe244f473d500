import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerLifecycle

/// What hosts report and what the site's rules say of it (GPU-01, GPU-02, GPU-05, GPU-07).
@Suite("Devices and rules about them")
struct DeviceCommandsTests {
    private static func card(_ address: String, product: Int = 0x11BF, unusable: String? = nil) -> PCIDevice {
        var device = PCIDevice(
            address: address, vendor: 0x10DE, product: product, classCode: 0x030000, iommuGroup: 1, numaNode: 0,
            driver: "nvidia")
        (device.vendorName, device.productName) = ("NVIDIA", "GRID K2")
        device.unusableReason = unusable
        return device
    }

    private static func k2(_ change: (inout DeviceMatch) -> Void = { _ in }) -> DeviceMatch {
        var match = DeviceMatch()
        (match.vendor, match.product) = (0x10DE, 0x11BF)
        change(&match)
        return match
    }

    /// A host says what it has.
    private func report(_ devices: [PCIDevice], from name: String, _ record: TestRecord) async throws {
        let (node, now) = (try await record.node(name), record.now)
        var inventory = node.inventory
        inventory.pciDevices = devices
        let told = inventory
        try await record.store.write { try FleetReports(in: $0, at: now).takeInventory(node.id, told, location: "") }
    }

    private func devices(_ record: TestRecord) async throws -> [HostedDevice] {
        try await record.store.read { sql in
            var page = Page.everything
            page.order = ListOrder([.init(column: "node_name"), .init(column: "address")])
            return try sql.devices.hosted(page)
        }
    }

    private func rule(
        _ record: TestRecord, _ alias: String?, _ action: DeviceRule.Action = .alias,
        _ match: DeviceMatch = DeviceCommandsTests.k2()
    ) async throws -> DeviceRule {
        try await record.request(by: record.root) {
            try $0.createDeviceRule(action, alias: alias ?? "", match: match, description: "")
        }
    }

    private func events(_ record: TestRecord) async throws -> [Event] {
        try await record.store.read { try $0.events.list(after: 0, .everything, limit: 1000) }.filter {
            $0.kind.hasPrefix("device")
        }
    }

    @Test("devices are found, change, go and come back, each told once; with their node they are forgotten")
    func inventory() async throws {
        let record = try await TestRecord(hosts: 1)
        try await report([Self.card("0000:3b:00.0"), Self.card("0000:5e:00.0")], from: "cn1", record)
        let seen = record.now
        record.pass(.seconds(60))
        // A driver that comes and goes is no news.
        var bound = Self.card("0000:3b:00.0")
        bound.driver = "vfio-pci"
        try await report([bound, Self.card("0000:5e:00.0", unusable: "a display")], from: "cn1", record)
        record.pass(.seconds(60))
        try await report([bound], from: "cn1", record)
        try await report([bound], from: "cn1", record)
        var found = try await devices(record)
        #expect(found.map(\.device.facts.driver) == ["vfio-pci", "nvidia"])
        #expect(found.map(\.status) == [.unusable, .absent])
        #expect(found.map(\.device.firstSeenAt) == [seen, seen])
        #expect(found.map(\.device.changedAt) == [seen + .seconds(60), seen + .seconds(120)])
        try await report([bound, Self.card("0000:5e:00.0")], from: "cn1", record)
        let again = try await devices(record)
        #expect(again.map(\.device.id) == found.map(\.device.id) && again[1].device.isPresent)
        let told = try await events(record)
        #expect(
            told.map(\.kind) == ["device.found", "device.found", "device.changed", "device.lost", "device.found"])
        #expect(told[2].resource.name == "cn1 0000:5e:00.0" && told[2].changes["reason"]?.after == "a display")
        #expect(told.allSatisfy { $0.owner == nil && $0.detail == "NVIDIA GRID K2" })
        try await record.request(by: record.root) { _ = try $0.removeNode("cn1") }
        found = try await devices(record)
        #expect(found.isEmpty)
    }

    @Test("that a host makes a device ready after each guest is no event; what else changes meanwhile is")
    func quiet() async throws {
        let record = try await TestRecord(hosts: 1)
        _ = try await rule(record, "K2_Grid")
        try await report([Self.card("0000:3b:00.0")], from: "cn1", record)
        let begun = try await events(record).count
        var busy = Self.card("0000:3b:00.0")
        busy.heldBy = .generate(at: record.now)
        for _ in 0..<3 {
            try await report([busy], from: "cn1", record)
            #expect(try await devices(record)[0].status == .inUse)
            try await report([Self.card("0000:3b:00.0")], from: "cn1", record)
            #expect(try await devices(record)[0].status == .free)
        }
        #expect(try await events(record).count == begun)
        busy.quarantineReason = "its reset failed"
        try await report([busy], from: "cn1", record)
        let told = try await events(record)
        #expect(told.count == begun + 1 && told.last?.kind == "device.changed")
        #expect(told.last?.changes["status"] == .init(before: "free", after: "quarantined"))
    }

    @Test("an event of a rule names what it says, and nothing that is empty")
    func fields() async throws {
        let record = try await TestRecord(hosts: 0)
        let deny = try await rule(record, nil, .deny)
        try await record.request(by: record.root) {
            _ = try $0.updateDeviceRule("\(deny.id)", alias: nil, match: nil, description: "x")
        }
        let told = try await events(record)
        #expect(Set(told[0].changes.keys) == ["action", "match"])
        #expect(told[1].changes == ["description": .init(before: nil, after: "x")])
    }

    @Test("a rule counts at once, for devices that are there and for those that come")
    func rules() async throws {
        let record = try await TestRecord(hosts: 2)
        try await report([Self.card("0000:3b:00.0"), Self.card("0000:5e:00.0", product: 1)], from: "cn1", record)
        func aliases() async throws -> [[String]] { try await devices(record).map(\.device.aliases) }
        #expect(try await aliases() == [[], []])
        let made = try await rule(record, "K2_Grid")
        #expect(try await aliases() == [["K2_Grid"], []])
        try await report([Self.card("0000:3b:00.0")], from: "cn2", record)
        #expect(try await aliases() == [["K2_Grid"], [], ["K2_Grid"]])
        let deny = try await rule(record, nil, .deny, Self.k2 { $0.node = "cn2" })
        #expect(try await aliases() == [["K2_Grid"], [], []])
        #expect(try await devices(record)[2].reason == "a rule denies it (vendor 10de, product 11bf, node cn2)")
        try await record.request(by: record.root) {
            _ = try $0.updateDeviceRule(
                made.id.description, alias: "K2", match: Self.k2 { $0.product = nil }, description: nil)
        }
        #expect(try await aliases() == [["K2"], ["K2"], []])
        try await record.request(by: record.root) { _ = try $0.deleteDeviceRule(deny.id.description) }
        #expect(try await aliases() == [["K2"], ["K2"], ["K2"]])
        let before = try await record.eventKinds().count
        let same = try await record.request(by: record.root) {
            try $0.updateDeviceRule(made.id.description, alias: "K2", match: nil, description: "")
        }
        #expect(try await record.eventKinds().count == before && same.updatedAt == record.now)
        let told = try await events(record).filter { $0.kind.hasPrefix("device_rule") }
        #expect(
            told.map(\.kind) == [
                "device_rule.created", "device_rule.created", "device_rule.updated", "device_rule.deleted",
            ])
        #expect(told.map(\.actor) == Array(repeating: "root", count: 4))
        #expect(told[2].changes["alias"] == .init(before: "K2_Grid", after: "K2"))
        #expect(told[2].changes["match"] == .init(before: "vendor 10de, product 11bf", after: "vendor 10de"))
        #expect(told[3].resource.name == "deny vendor 10de, product 11bf, node cn2")
    }

    @Test("a rule says which devices it is about, and an alias where it is one")
    func wrongRules() async throws {
        let record = try await TestRecord(hosts: 0)
        for (action, alias, match, pointer) in [
            (.alias, "a", DeviceMatch(), "/match"), (.alias, "", Self.k2(), "/alias"),
            (.deny, "a", Self.k2(), "/alias"),
            (.allow, "a", Self.k2(), "/alias"),
        ] as [(DeviceRule.Action, String, DeviceMatch, String)] {
            let refusal = try await record.refused(.unprocessable, by: record.root) {
                try $0.createDeviceRule(action, alias: alias, match: match, description: "")
            }
            #expect(refusal?.fields.map(\.pointer) == [pointer])
        }
        let made = try await rule(record, "a")
        try await record.refused(.unprocessable, by: record.root) {
            try $0.updateDeviceRule(made.id.description, alias: nil, match: DeviceMatch(), description: nil)
        }
        try await record.refused(.notFound, by: record.root) { try $0.deviceRule("a") }
        try await record.refused(.notFound, by: record.root) { try $0.device("\(made.id)") }
    }

    @Test("a site has so many aliases and rules, and no more")
    func limits() async throws {
        let record = try await TestRecord(hosts: 0)
        try await record.request(by: record.root) { commands in
            for number in 1...DeviceRules.maximumAliases {
                _ = try commands.createDeviceRule(.alias, alias: "a\(number)", match: Self.k2(), description: "")
            }
        }
        let refusal = try await record.refused(.unprocessable, by: record.root) {
            try $0.createDeviceRule(.alias, alias: "b", match: Self.k2(), description: "")
        }
        #expect(refusal?.fields.map(\.pointer) == ["/alias"])
        // Another rule for one of them is no further alias, nor is one that is called otherwise.
        let second = try await rule(record, "a1")
        try await record.refused(.unprocessable, by: record.root) {
            try $0.updateDeviceRule(second.id.description, alias: "b", match: nil, description: nil)
        }
        let now = record.now
        try await record.store.write { sql in
            for _ in 0..<(DeviceRules.maximumRules - DeviceRules.maximumAliases - 1) {
                try sql.devices.insert(
                    DeviceRule(
                        id: .generate(at: now), action: .deny, alias: "", match: Self.k2(), description: "",
                        createdAt: now,
                        updatedAt: now))
            }
        }
        try await record.refused(.unprocessable, by: record.root) {
            try $0.createDeviceRule(.deny, alias: "", match: Self.k2(), description: "")
        }
    }

    @Test("a flavor asks for what a rule names; the rule that alone names it stays while a flavor asks (GPU-05)")
    func flavors() async throws {
        let record = try await TestRecord(hosts: 0)
        func flavor(_ name: String, _ aliases: String) async throws -> Flavor {
            try await record.request(by: record.root) {
                try $0.createFlavor(
                    name: name, vcpus: 1, ramMiB: 16, diskGiB: 10, properties: ["pci_passthrough:alias": aliases])
            }
        }
        var refusal = try await record.refused(.unprocessable, by: record.root) {
            try $0.createFlavor(
                name: "k2", vcpus: 1, ramMiB: 16, diskGiB: 10, properties: ["pci_passthrough:alias": "K2_Grid:1"])
        }
        #expect(refusal?.fields.map(\.pointer) == ["/properties/pci_passthrough:alias"])
        #expect(refusal?.sentence.contains("no device rule gives the alias 'K2_Grid'; there is none yet") == true)
        let made = try await rule(record, "K2_Grid")
        _ = try await rule(record, "T4")
        let first = try await flavor("k2", "K2_Grid:1")
        _ = try await flavor("big", "T4,K2_Grid:2")
        refusal = try await record.refused(.unprocessable, by: record.root) {
            var changed = first
            changed.properties["pci_passthrough:alias"] = "T4,K3"
            return try $0.updateFlavor(changed)
        }
        #expect(refusal?.sentence.contains("'K3'; there are 'K2_Grid', 'T4'") == true)
        for attempt in [
            { try $0.deleteDeviceRule(made.id.description) },
            { try $0.updateDeviceRule(made.id.description, alias: "K2", match: nil, description: nil) },
        ] as [@Sendable (Commands) throws -> DeviceRule] {
            refusal = try await record.refused(.inUse, by: record.root, attempt)
            #expect(refusal?.sentence.contains("flavors 'big', 'k2' ask for it") == true)
        }
        // What else there is to a rule may change, and it may go once another gives the alias.
        try await record.request(by: record.root) {
            _ = try $0.updateDeviceRule(
                made.id.description, alias: nil, match: Self.k2 { $0.node = "c*" }, description: "x")
        }
        let second = try await rule(record, "K2_Grid", .alias, Self.k2 { $0.product = 2 })
        try await record.request(by: record.root) { _ = try $0.deleteDeviceRule(made.id.description) }
        try await record.refused(.inUse, by: record.root) { try $0.deleteDeviceRule(second.id.description) }
        try await record.request(by: record.root) { commands in
            for name in ["k2", "big"] { _ = try commands.deleteFlavor(name) }
            _ = try commands.deleteDeviceRule(second.id.description)
        }
    }

    @Test("a device that is kept out of service is so whatever its host and the rules say, until it is released")
    func quarantine() async throws {
        let record = try await TestRecord(hosts: 1)
        _ = try await rule(record, "K2_Grid")
        try await report([Self.card("0000:3b:00.0")], from: "cn1", record)
        let id = try #require(try await devices(record).first).device.id.description
        record.pass(.seconds(1))
        let begun = record.now
        let kept = try await record.request(by: record.root) { try $0.quarantineDevice(id, reason: "its fan is stuck") }
        #expect(kept.status == .quarantined && kept.reason == "its fan is stuck" && kept.device.quarantinedAt == begun)
        record.pass(.seconds(1))
        try await record.request(by: record.root) { commands in
            _ = try commands.quarantineDevice(id, reason: "its fan is stuck")
            _ = try commands.quarantineDevice(id, reason: "it burnt")
        }
        try await report([], from: "cn1", record)
        try await report([Self.card("0000:3b:00.0")], from: "cn1", record)
        let still = try #require(try await devices(record).first)
        #expect(still.status == .quarantined && still.reason == "it burnt" && still.device.quarantinedAt == begun)
        var numbers = try await record.request(by: record.root) { try $0.deviceNumbers(of: "K2_Grid") }
        #expect(numbers.total == 1 && numbers.quarantined == 1 && numbers.free == 0)
        let free = try await record.request(by: record.root) { try $0.quarantineDevice(id, reason: nil) }
        #expect(free.status == .free && free.device.quarantinedAt == nil)
        numbers = try await record.request(by: record.root) { try $0.deviceNumbers(of: "K2_Grid") }
        #expect(numbers.free == 1)
        #expect(try await record.request(by: record.root) { try $0.deviceNumbers() } == [numbers])
        let told = try await events(record).filter { ["device.quarantined", "device.released"].contains($0.kind) }
        #expect(told.map(\.detail) == ["its fan is stuck", "it burnt", ""])
        #expect(told[2].changes["status"] == .init(before: "quarantined", after: "free"))
    }
}
