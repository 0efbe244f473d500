import ManagerModel
import ManagerPlacement
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerLifecycle

/// Who has which device (GPU-05, GPU-09, GPU-12; P3).
@Suite("Claims of devices")
struct DeviceClaimTests {
    /// A site of two hosts with cards, and a flavor that asks for one.
    private struct Site {
        let record: TestRecord

        init(
            cards: [[PCIDevice]], rules: [(DeviceRule.Action, String, DeviceMatch)] = [(.alias, "k2", k2())]
        ) async throws {
            record = try await TestRecord(hosts: cards.count)
            for rule in rules {
                try await record.request(by: record.root) {
                    _ = try $0.createDeviceRule(rule.0, alias: rule.1, match: rule.2, description: "")
                }
            }
            for (index, devices) in cards.enumerated() { try await report(devices, from: "cn\(index + 1)") }
            try await flavor("card", "k2:1")
        }

        func report(_ devices: [PCIDevice], from name: String) async throws {
            let (node, now) = (try await record.node(name), record.now)
            var inventory = node.inventory
            inventory.pciDevices = devices
            let told = inventory
            try await record.store.write {
                try FleetReports(in: $0, at: now).takeInventory(node.id, told, location: "")
            }
        }

        func flavor(_ name: String, _ devices: String) async throws {
            try await record.request(by: record.root) {
                _ = try $0.createFlavor(
                    name: name, vcpus: 1, ramMiB: 64, diskGiB: 2, properties: ["pci_passthrough:alias": devices])
            }
        }

        func create(_ name: String, _ flavor: String = "card", node: String? = nil) async throws -> Instance {
            try await record.request(by: record.ann) {
                try $0.createInstances(
                    InstanceCreation(name: name, flavor: flavor, image: "debian", node: node))[0]
            }
        }

        /// Addresses by the names of their holders.
        func held() async throws -> [String: [String]] {
            try await record.store.read { sql in
                var held: [String: [String]] = [:]
                for device in try sql.devices.list() {
                    guard let claim = device.claim else { continue }
                    let instance = try #require(try sql.instances.find(claim.instance))
                    let name = instance.name
                    held[name, default: []].append("\(device.facts.address) \(claim.alias)")
                }
                return held.mapValues { $0.sorted() }
            }
        }

        func stop(_ instance: Instance) async throws {
            try await record.request(by: record.ann) { _ = try $0.stopInstance("\(instance.id)", force: true) }
            try await record.report(instance.id, .stopped)
        }
    }

    private static func card(
        _ slot: Int, group: Int? = nil, numa: Int? = 0, product: Int = 0x11BF, unusable: String? = nil
    ) -> PCIDevice {
        var device = PCIDevice(
            address: "0000:0\(slot):00.0", vendor: 0x10DE, product: product, classCode: 0x030000,
            iommuGroup: group ?? slot, numaNode: numa, driver: "nvidia")
        device.unusableReason = unusable
        return device
    }

    private static func k2(_ product: Int? = 0x11BF) -> DeviceMatch {
        var match = DeviceMatch()
        (match.vendor, match.product) = (0x10DE, product)
        return match
    }

    @Test("of 64 requests for 5 devices 5 are placed, 59 are told why not, and none shares")
    func scarce() async throws {
        let site = try await Site(cards: [[1, 2, 3].map { Self.card($0) }, [1, 2].map { Self.card($0) }])
        let outcomes = await withTaskGroup(of: String?.self) { group in
            for number in 0..<64 {
                group.addTask {
                    do {
                        _ = try await site.create("vm\(number)")
                        return nil
                    } catch { return "\(error)" }
                }
            }
            return await group.reduce(into: [String?]()) { $0.append($1) }
        }
        #expect(outcomes.count { $0 == nil } == 5)
        let sentences = outcomes.compactMap(\.self)
        #expect(sentences.count == 59)
        for sentence in sentences {
            #expect(sentence.contains("no device 'k2' is free: of 5, 5 are in use"), "\(sentence)")
        }
        let held = try await site.held()
        #expect(held.count == 5 && held.values.allSatisfy { $0.count == 1 })
    }

    @Test("a device is free again once the guest is gone, and claimed again before it starts (GPU-09)")
    func powerCycles() async throws {
        let site = try await Site(cards: [[Self.card(1)], []])
        let first = try await site.create("first")
        try await site.record.report(first.id, .running)
        try await site.record.request(by: site.record.ann) { _ = try $0.stopInstance("\(first.id)", force: false) }
        // It runs on until it is seen to have stopped.
        #expect(try await site.held() == ["first": ["0000:01:00.0 k2"]])
        try await site.record.report(first.id, .stopped)
        #expect(try await site.held() == [:])
        let second = try await site.create("second")
        #expect(second.node == first.node)
        let refusal = try await site.record.refused(.noCapacity, by: site.record.ann) {
            try $0.startInstance("\(first.id)")
        }
        #expect("\(refusal as Any)".contains("of 1, 1 is in use"))
        try await site.record.request(by: site.record.ann) { _ = try $0.deleteInstance("\(second.id)") }
        try await site.record.report(second.id, .deleted)
        try await site.record.request(by: site.record.ann) { _ = try $0.startInstance("\(first.id)") }
        #expect(try await site.held() == ["first": ["0000:01:00.0 k2"]])
        #expect(try await site.record.store.read { try $0.instances.find(first.id)?.status } == .building)
    }

    @Test("what stands in one group goes to one guest, or to none where a part of it may go to nobody")
    func groups() async throws {
        var denied = DeviceMatch()
        denied.product = 0x1111
        let site = try await Site(
            cards: [
                // A card with its sound; another whose neighbour is denied; a third whose host keeps the neighbour.
                [
                    Self.card(1, group: 1), Self.card(2, group: 1, product: 0x0E0A), Self.card(3, group: 3),
                    Self.card(4, group: 3, product: 0x1111), Self.card(5, group: 5),
                    Self.card(6, group: 5, product: 0x2222, unusable: "its driver is busy"),
                ], [],
            ], rules: [(.alias, "k2", Self.k2()), (.deny, "", denied)])
        _ = try await site.create("one")
        #expect(try await site.held() == ["one": ["0000:01:00.0 k2", "0000:02:00.0 "]])
        await #expect(throws: Refusal.self) { try await site.create("two") }
    }

    private static func gpu(_ slot: Int) -> PCIDevice { card(slot, numa: slot <= 4 ? 0 : 1, product: 0x20B0) }

    /// Two boards of eight, joined as an NVSwitch joins them, on nodes of their own.
    private static func boards() async throws -> (site: Site, board: DeviceRule) {
        let site = try await Site(
            cards: [(1...8).map { gpu($0) }, (1...8).map { gpu($0) }, []],
            rules: [(.alias, "k2", k2()), (.alias, "a100", k2(0x20B0))])
        let slots =
            [[1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4], [5, 6, 7, 8], [1, 2], [3, 4], [5, 6], [7, 8]]
            + (1...8).map { [$0] }
        let board = try await site.record.request(by: site.record.root) { commands in
            var match = k2(0x20B0)
            match.node = "cn*"
            return try commands.createDeviceRule(
                .partition, alias: "", match: match, sets: slots.map { $0.map { "0000:0\($0):00.0" } },
                description: "HGX")
        }
        for count in [1, 2, 3, 4, 8] { try await site.flavor("g\(count)", "a100:\(count)") }
        return (site, board)
    }

    @Test("devices that are joined go in whole sets, the smallest hole first, and a refusal says that none is whole")
    func sets() async throws {
        let (site, _) = try await Self.boards()
        let one = try await site.create("one", "g1", node: "cn1")
        #expect(one.devices.map(\.count) == [1])
        let four = try await site.create("four", "g4", node: "cn1")
        _ = try await site.create("two", "g2", node: "cn1")
        #expect(
            try await site.held() == [
                "one": ["0000:01:00.0 a100"], "four": (5...8).map { "0000:0\($0):00.0 a100" },
                "two": (3...4).map { "0000:0\($0):00.0 a100" },
            ])
        // Three are no set of any board, however many are free.
        let three = try await site.record.refused(.noCapacity, by: site.record.ann) {
            try $0.createInstances(InstanceCreation(name: "three", flavor: "g3", image: "debian"))
        }
        #expect(
            three?.sentence.contains(
                "no whole set of 3 devices 'a100' is free on any host: of 16, 7 are in use and 9 are free") == true,
            "\(three?.sentence ?? "")")
        _ = try await site.create("eight", "g8")
        let none = try await site.record.refused(.noCapacity, by: site.record.ann) {
            try $0.createInstances(InstanceCreation(name: "eight2", flavor: "g8", image: "debian"))
        }
        #expect(none?.sentence.contains("no device 'a100'") == false)
        #expect(none?.sentence.contains("8 devices 'a100' on one node are wanted, and at most 1 is free") == true)
        // Four that were given back are a set again: also for the one that had them.
        try await site.stop(four)
        try await site.record.request(by: site.record.ann) { _ = try $0.startInstance("\(four.id)") }
        #expect(try await site.held()["four"]?.count == 4)
        #expect(try await site.record.findings().isEmpty)
    }

    @Test("a set with a device that is gone or out of service is not whole; without the rule each goes singly again")
    func brokenSets() async throws {
        let (site, board) = try await Self.boards()
        for name in ["cn1", "cn2"] { try await site.report([1, 2, 3, 5, 6, 7].map { Self.gpu($0) }, from: name) }
        let refusal = try await site.record.refused(.noCapacity, by: site.record.ann) {
            try $0.createInstances(InstanceCreation(name: "four", flavor: "g4", image: "debian"))
        }
        let sentence = "no whole set of 4 devices 'a100' is free on any host: of 12, 12 are free"
        #expect(refusal?.sentence.contains(sentence) == true, "\(refusal?.sentence ?? "")")
        for name in ["cn1", "cn2"] { try await site.report((2...8).map { Self.gpu($0) }, from: name) }
        let explained = try await site.record.request(by: site.record.root) {
            try $0.explainPlacement(flavor: "g8", image: nil, PlacementWish(), limit: 5)
        }
        #expect(
            explained.explanation.candidates == 0
                && explained.explanation.removals.first { $0.filter == .devices }?.hosts == 3)
        let first = try await site.create("a", "g4", node: "cn1")
        #expect(try await site.held()["a"] == (5...8).map { "0000:0\($0):00.0 a100" })
        try await site.stop(first)
        _ = try await site.create("b", "g1", node: "cn1")
        #expect(try await site.held()["b"] == ["0000:02:00.0 a100"])
        try await site.record.request(by: site.record.root) { _ = try $0.deleteDeviceRule("\(board.id)") }
        _ = try await site.create("c", "g3", node: "cn1")
        #expect(try await site.held()["c"]?.count == 3)
    }

    @Test("only a rule about sets has sets, and they make sense")
    func wrongSets() async throws {
        let (site, board) = try await Self.boards()
        for (action, alias, sets, pointer) in [
            (.partition, "", [], "/sets"), (.deny, "", [["0000:01:00.0"]], "/sets"),
            (.partition, "", [["0000:01:00.0", "0000:01:00.0"]], "/sets/0"),
            (.partition, "", [["0000:0A:00.0", "0000:01:00.0"], ["0000:01:00.0", "0000:0a:00.0"]], "/sets/1"),
            (.partition, "x", [["0000:01:00.0"]], "/alias"),
        ] as [(DeviceRule.Action, String, [[String]], String)] {
            let refusal = try await site.record.refused(.unprocessable, by: site.record.root) {
                try $0.createDeviceRule(action, alias: alias, match: Self.k2(), sets: sets, description: "")
            }
            #expect(refusal?.fields.map(\.pointer) == [pointer])
        }
        let changed = try await site.record.request(by: site.record.root) {
            try $0.updateDeviceRule(
                "\(board.id)", alias: nil, match: nil, sets: [["0000:02:00.0", "0000:01:00.0"]], description: nil)
        }
        #expect(changed.sets == [["0000:01:00.0", "0000:02:00.0"]])
        await #expect(throws: Refusal.self) { try await site.create("vm", "g1") }
        _ = try await site.create("vm", "g2")
    }

    @Test("a card with two names serves the one that no other can")
    func twoNames() async throws {
        let site = try await Site(
            cards: [[Self.card(1, product: 0x2222), Self.card(2)], []],
            rules: [(.alias, "any", Self.k2(nil)), (.alias, "k2", Self.k2())])
        try await site.flavor("both", "any:1,k2:1")
        _ = try await site.create("vm", "both")
        #expect(try await site.held() == ["vm": ["0000:01:00.0 any", "0000:02:00.0 k2"]])
    }

    @Test("a device out of service, or gone, is given to nobody; who has it keeps it")
    func outOfService() async throws {
        let site = try await Site(cards: [[Self.card(1), Self.card(2)], []])
        let first = try await site.create("first")
        let devices = try await site.record.store.read { try $0.devices.list() }
        for device in devices {
            try await site.record.request(by: site.record.root) {
                _ = try $0.quarantineDevice("\(device.id)", reason: "it smells")
            }
        }
        await #expect(throws: Refusal.self) { try await site.create("second") }
        #expect(try await site.held() == ["first": ["0000:01:00.0 k2"]])
        try await site.stop(first)
        await #expect(throws: Refusal.self) {
            try await site.record.request(by: site.record.ann) { _ = try $0.startInstance("\(first.id)") }
        }
        for device in devices {
            try await site.record.request(by: site.record.root) {
                _ = try $0.quarantineDevice("\(device.id)", reason: nil)
            }
        }
        try await site.report([Self.card(2)], from: "cn1")
        _ = try await site.create("third")
        #expect(try await site.held() == ["third": ["0000:02:00.0 k2"]])
    }

    @Test("a node that is enabled again starts what a drain stopped, but for what has no device any more")
    func enabledAgain() async throws {
        let site = try await Site(cards: [[Self.card(1)]])
        let first = try await site.create("first")
        let plain = try await site.record.create("plain", by: site.record.ann)[0]
        for id in [first.id, plain.id] { try await site.record.report(id, .running) }
        try await site.record.request(by: site.record.root) {
            _ = try $0.disableNodes(["cn1"], DrainOrder(reason: "cleaning"))
        }
        for id in [first.id, plain.id] { try await site.record.report(id, .stopped) }
        try await site.record.advanceDrains()
        let device = try await site.record.store.read { try $0.devices.list()[0] }
        try await site.record.request(by: site.record.root) {
            _ = try $0.quarantineDevice("\(device.id)", reason: "it smells")
        }
        let answer = try await site.record.request(by: site.record.root) { try $0.enableNodes(["cn1"]) }
        let actions = answer.flatMap(\.actions)
        #expect(actions.contains("start instance \(plain.id) (plain)"))
        #expect(actions.contains { $0.hasPrefix("leave instance \(first.id) (first) stopped: ") }, "\(actions)")
        #expect(try await site.record.instance(first.id).desired == .stopped)
    }

    @Test("an instance has its own device back while its host still makes it ready; another has not")
    func madeReady() async throws {
        let site = try await Site(cards: [[Self.card(1)]])
        let first = try await site.create("first")
        try await site.stop(first)
        var kept = Self.card(1)
        kept.heldBy = first.id
        try await site.report([kept], from: "cn1")
        await #expect(throws: Refusal.self) { try await site.create("second") }
        try await site.record.request(by: site.record.ann) { _ = try $0.startInstance("\(first.id)") }
        #expect(try await site.held() == ["first": ["0000:01:00.0 k2"]])
    }

    @Test("what its host keeps out of service is given to nobody, and let back in there alone")
    func hostQuarantine() async throws {
        var broken = Self.card(1)
        broken.quarantineReason = "its reset failed"
        let site = try await Site(cards: [[broken]])
        await #expect(throws: Refusal.self) { try await site.create("vm") }
        let device = try await site.record.store.read { try $0.devices.list()[0] }
        let refusal = try await site.record.refused(.conflict, by: site.record.root) {
            try $0.quarantineDevice("\(device.id)", reason: nil)
        }
        #expect(refusal?.sentence.contains("--readmit 0000:01:00.0") == true)
    }

    @Test("the check of the record finds a claim of nobody's, and an instance without what it is to have")
    func check() async throws {
        let site = try await Site(cards: [[Self.card(1), Self.card(2)], []])
        let first = try await site.create("first")
        #expect(try await site.record.findings().isEmpty)
        try await site.record.store.write { sql in
            var devices = try sql.devices.list().sorted { $0.facts.address < $1.facts.address }
            devices[1].claim = DeviceClaim(
                instance: .generate(at: site.record.now), alias: "k2", since: site.record.now)
            devices[0].claim = nil
            for device in devices { try sql.devices.update(device) }
        }
        let found = try await site.record.findings()
        #expect(found.map(\.kind) == ["claim", "claim"], "\(found)")
        #expect(found.contains { $0.subject == "instance \(first.id)" && $0.sentence.contains("0 devices 'k2' of 1") })
    }
}
