import ManagerModel
import ManagerStore
import ProtocolModel
import Testing
import TestsSupportRandomness

@testable import ManagerLifecycle

@Suite("Processors of an instance's own, NUMA nodes and huge pages")
struct PlaceClaimTests {
    /// Two NUMA nodes of four processors, 4 GiB of memory and 1 GiB in huge pages each.
    static let topology = HostTopology(
        (0..<2).map { cell in
            HostTopology.Cell(
                number: cell, memoryMiB: 4 << 10, cores: (0..<4).map { [cell * 4 + $0] },
                pages: [.init(sizeKiB: 2048, total: 512)])
        })

    private static func site(hosts: Int = 1, dedicated: String? = "1-3,5-7") async throws -> TestRecord {
        let record = try await TestRecord(hosts: hosts)
        try await record.store.write { sql in
            for var node in try sql.nodes.list() {
                node.inventory.cpuCount = 8
                node.inventory.topology = topology
                try sql.nodes.update(node)
            }
        }
        _ = try await record.request(by: record.root) { commands in
            for number in 1...hosts { _ = try commands.setDedicatedCPUs("cn\(number)", to: dedicated) }
            for (name, vcpus, ram, properties) in [
                ("own2", 2, 512, ["hw:cpu_policy": "dedicated"]),
                ("own4", 4, 512, ["hw:cpu_policy": "dedicated", "hw:numa_nodes": "2"]),
                ("huge", 1, 768, ["hw:mem_page_size": "2MB"]), ("shared", 2, 512, [:]),
                ("cell", 1, 512, ["hw:numa_nodes": "1"]),
            ] as [(String, Int, Int, [String: String])] {
                _ = try commands.createFlavor(name: name, vcpus: vcpus, ramMiB: ram, diskGiB: 5, properties: properties)
            }
        }
        return record
    }

    private static func create(_ record: TestRecord, _ flavor: String) async throws -> Instance {
        try await record.request(by: record.ann) {
            try $0.createInstances(InstanceCreation(name: "i", flavor: flavor, image: "debian"))[0]
        }
    }

    private static func refused(_ record: TestRecord, _ flavor: String) async throws -> [String]? {
        let refusal = try await record.refused(.noCapacity, by: record.ann) {
            try $0.createInstances(InstanceCreation(name: "i", flavor: flavor, image: "debian"))
        }
        return refusal?.removedBy.filter { $0.hosts > 0 }.map(\.filter)
    }

    private static func delete(_ record: TestRecord, _ id: InstanceID) async throws {
        _ = try await record.request(by: record.ann) { try $0.deleteInstance("\(id)") }
        try await record.report(id, .deleted)
    }

    @Test("processors are an instance's own from its creation to its end, also while it is stopped")
    func dedicated() async throws {
        let record = try await Self.site()
        let wide = try await Self.create(record, "own4")
        #expect(wide.place?.cells.map(\.processors) == [[1, 2], [5, 6]])
        // One on each node is left, and it wants two on one.
        #expect(try await Self.refused(record, "own2") == ["numa"])
        try await Self.delete(record, wide.id)
        let first = try await Self.create(record, "own2")
        #expect(first.place?.cells.map(\.processors) == [[1, 2]])
        #expect(try await record.instance(first.id).place == first.place)
        let second = try await Self.create(record, "own2")
        #expect(second.place?.cells.map(\.processors) == [[5, 6]])
        try await record.report(first.id, .running)
        _ = try await record.request(by: record.ann) { try $0.stopInstance("\(first.id)", force: true) }
        try await record.report(first.id, .stopped)
        #expect(try await record.node("cn1").places[first.id] == first.place)
        try await Self.delete(record, first.id)
        #expect(try await record.node("cn1").places.keys.sorted() == [second.id])
        #expect(try await record.instance(first.id).place == nil)
        #expect(try await Self.create(record, "own2").place?.cells.map(\.processors) == [[1, 2]])
    }

    @Test("who shares is counted against what is left to share, and who does not is not")
    func shares() async throws {
        let record = try await Self.site()
        // Two processors, four times: eight vCPUs.
        for _ in 0..<4 { _ = try await Self.create(record, "shared") }
        #expect(try await Self.refused(record, "shared") == ["vcpus"])
        #expect(try await Self.create(record, "own2").place != nil)
        #expect(try await record.node("cn1").claimedVCPUs == 10)
    }

    @Test("huge pages are a store of their own; other guests have the rest of the memory")
    func hugePages() async throws {
        let record = try await Self.site(dedicated: nil)
        let first = try await Self.create(record, "huge")
        #expect(first.place?.pageKiB == 2048 && first.place?.memoryMiB == 768)
        let second = try await Self.create(record, "huge")
        #expect(Set([first, second].compactMap { $0.place?.cells.first?.host }) == [0, 1])
        // 256 MiB are left on each node.
        #expect(try await Self.refused(record, "huge") == ["huge_pages"])
        // 8 GiB less 2 GiB in pages.
        for _ in 0..<12 { _ = try await Self.create(record, "shared") }
        #expect(try await Self.refused(record, "shared") == ["ram"])
    }

    @Test("a host of which nothing is known is given nobody by it, and says so")
    func unknown() async throws {
        let record = try await Self.site()
        try await record.store.write { sql in
            var node = try #require(try sql.nodes.find(name: "cn1"))
            node.inventory.topology = nil
            try sql.nodes.update(node)
        }
        #expect(try await Self.refused(record, "own2") == ["topology"])
        _ = try await Self.create(record, "shared")
        let none = try await Self.site(dedicated: nil)
        #expect(try await Self.refused(none, "own2") == ["dedicated_cpus"])
    }

    @Test(
        "what a host does not have cannot be dedicated, nor all of it",
        arguments: [("1-9", "8-9"), ("0-7", "leave one"), ("a", "4-31"), ("3-1", "4-31")])
    func refusals(_ text: String, _ word: String) async throws {
        let record = try await Self.site()
        let refusal = try await record.refused(.unprocessable, by: record.root) {
            try $0.setDedicatedCPUs("cn1", to: text)
        }
        #expect(refusal?.sentence.contains(word) == true)
        #expect(try await record.node("cn1").dedicatedCPUs == ProcessorSet("1-3,5-7"))
    }

    @Test("something is left to share beside what instances have alone, also on each node that some share")
    func leftToShare() async throws {
        let record = try await Self.site()
        for _ in 0..<2 { _ = try await Self.create(record, "own2") }
        let all = try await record.refused(.unprocessable, by: record.root) {
            try $0.setDedicatedCPUs("cn1", to: "0,3-4,7")
        }
        #expect(all?.sentence.contains("1-2,5-6") == true)
        let sharing = try await Self.create(record, "cell")
        #expect(sharing.place?.cells == [.init(host: 0, vcpus: 1, memoryMiB: 512)])
        let node = try await record.refused(.unprocessable, by: record.root) {
            try $0.setDedicatedCPUs("cn1", to: "0,3")
        }
        #expect(node?.sentence.contains("NUMA node 0") == true)
        _ = try await record.request(by: record.root) { try $0.setDedicatedCPUs("cn1", to: "3-4,7") }
        #expect(try await record.node("cn1").sharedCPUs == ProcessorSet("0"))
    }

    private static func tell(_ record: TestRecord, _ change: (inout NodeInventory) -> Void) async throws {
        let node = try await record.node("cn1")
        var inventory = node.inventory
        change(&inventory)
        let (told, now) = (inventory, record.now)
        try await record.store.write { try FleetReports(in: $0, at: now).takeInventory(node.id, told, location: "") }
    }

    @Test(
        "what guests have alone stays theirs when an agent says no more which processors there are, and it starts none there"
    )
    func forgotten() async throws {
        let record = try await Self.site()
        try await Self.tell(record) { $0.shapesHardware = true }
        let own = try await Self.create(record, "own2")
        let shared = try await Self.create(record, "shared")
        try await record.report(own.id, .running)
        _ = try await record.request(by: record.root) { try $0.stopInstance("\(own.id)", force: true) }
        try await record.report(own.id, .stopped)
        let before = try await record.node("cn1")
        try await Self.tell(record) { ($0.topology, $0.shapesHardware) = (nil, nil) }
        let after = try await record.node("cn1")
        #expect(after.inventory.topology == Self.topology && after.sharedCPUs == before.sharedCPUs)
        #expect(after.assignmentRevision == before.assignmentRevision)
        let refusal = try await record.refused(.conflict, by: record.ann) { try $0.startInstance("\(own.id)") }
        #expect(refusal?.sentence.contains("update its agent") == true)
        // A processor was taken offline: who shares is told.
        try await Self.tell(record) {
            $0.shapesHardware = true
            $0.topology?.cells[1].cores[0] = []
        }
        #expect(try await record.node("cn1").sharedCPUs == ProcessorSet("0"))
        let told = try await record.store.read {
            try $0.instances.changed(on: before.id, since: before.assignmentRevision).map(\.id)
        }
        #expect(Set(told) == [own.id, shared.id])
        #expect(try await record.request(by: record.ann) { try $0.startInstance("\(own.id)") }.desired == .running)
        // Where nobody has any, nothing is kept.
        let free = try await Self.site(dedicated: nil)
        try await Self.tell(free) { $0.topology = nil }
        #expect(try await free.node("cn1").inventory.topology == nil)
    }

    @Test("one that moves asks for a place like its own, whatever its flavor asks for by now")
    func alike() async throws {
        let record = try await Self.site()
        let (own, huge) = (try await Self.create(record, "own4"), try await Self.create(record, "huge"))
        #expect(
            own.place?.request(own) == CellRequest(vcpus: 4, memoryMiB: 512, cells: 2, isDedicated: true))
        let expected = CellRequest(vcpus: 1, memoryMiB: 768, pages: .size(kib: 2048))
        #expect(huge.place?.request(huge) == expected)
        #expect(huge.place?.request(huge, anySizeOfPages: true).pages == .large)
    }

    @Test("one whose processors or pages are gone gets others when it starts, or is told that there are none")
    func renewed() async throws {
        let record = try await Self.site()
        try await Self.tell(record) { $0.shapesHardware = true }
        let (own, huge) = (try await Self.create(record, "own2"), try await Self.create(record, "huge"))
        #expect(own.place?.cells.map(\.processors) == [[1, 2]] && huge.place?.cells.map(\.host) == [0])
        for id in [own.id, huge.id] {
            try await record.report(id, .running)
            _ = try await record.request(by: record.root) { try $0.stopInstance("\(id)", force: true) }
            try await record.report(id, .stopped)
        }
        try await Self.tell(record) {
            $0.topology?.cells[0].cores[1] = []
            $0.topology?.cells[0].pages[0].total = 100
        }
        for id in [own.id, huge.id] {
            _ = try await record.request(by: record.ann) { try $0.startInstance("\(id)") }
        }
        let places = try await record.node("cn1").places
        #expect(places[own.id]?.cells.map(\.processors) == [[2, 3]] && places[huge.id]?.cells.map(\.host) == [1])
        #expect(try await record.instance(own.id).place == places[own.id])
        try await record.report(own.id, .running)
        _ = try await record.request(by: record.root) { try $0.stopInstance("\(own.id)", force: true) }
        try await record.report(own.id, .stopped)
        try await Self.tell(record) { inventory in
            for (cell, cores) in [[[0], [3]], [[4], [5]]].enumerated() { inventory.topology?.cells[cell].cores = cores }
        }
        let refusal = try await record.refused(.noCapacity, by: record.ann) { try $0.startInstance("\(own.id)") }
        #expect(refusal?.sentence.contains("node cpus cn1") == true)
    }

    @Test("when other processors are dedicated, all instances of the node are told, and what one has stays its own")
    func changed() async throws {
        let record = try await Self.site()
        let own = try await Self.create(record, "own2")
        let shared = try await Self.create(record, "shared")
        let before = try await record.node("cn1")
        #expect(before.sharedCPUs == ProcessorSet("0,4"))
        _ = try await record.request(by: record.root) { try $0.setDedicatedCPUs("cn1", to: "6-7") }
        let after = try await record.node("cn1")
        #expect(after.sharedCPUs == ProcessorSet("0,3-5"))
        let told = try await record.store.read {
            try $0.instances.changed(on: before.id, since: before.assignmentRevision).map(\.id)
        }
        #expect(Set(told) == [own.id, shared.id])
        #expect(try await Self.create(record, "own2").place?.cells.map(\.processors) == [[6, 7]])
    }

    @Test(
        "whatever comes and goes, no processor is given twice, no node is over its memory, and the record agrees with itself"
    )
    func steps() async throws {
        let record = try await Self.site(hosts: 3)
        var random = SeededNumbers(state: 11)
        var living: [InstanceID] = []
        for _ in 0..<150 {
            let step = Int.random(in: 0..<4, using: &random)
            if step == 3 {
                let list = ["1-3,5-7", "0,2,4-6", "1-7", "0-3", "0,4", "2-6", nil].randomElement(using: &random) ?? nil
                let host = "cn\(Int.random(in: 1...3, using: &random))"
                _ = try? await record.request(by: record.root) { try $0.setDedicatedCPUs(host, to: list) }
            } else if step > 0 {
                let flavor = ["own2", "own4", "huge", "shared", "cell"].randomElement(using: &random) ?? "shared"
                if let made = try? await Self.create(record, flavor) { living.append(made.id) }
            } else if let id = living.randomElement(using: &random) {
                living.removeAll { $0 == id }
                try await Self.delete(record, id)
            }
            for node in try await record.store.read({ try $0.nodes.list() }) {
                let cells = node.places.values.flatMap(\.cells)
                let processors = cells.flatMap(\.processors)
                #expect(Set(processors).count == processors.count)
                let shared = node.sharedCPUs ?? Self.topology.processors
                #expect(!shared.isEmpty && shared.intersection(ProcessorSet(processors)).isEmpty)
                for cell in cells where cell.processors.isEmpty {
                    #expect(!shared.intersection(Self.topology.cells[cell.host].processors).isEmpty)
                }
                for cell in Self.topology.cells {
                    let huge = node.places.values.filter { $0.pageKiB != nil }.flatMap(\.cells)
                        .filter { $0.host == cell.number }.reduce(0) { $0 + $1.memoryMiB }
                    #expect(huge <= 1024)
                }
            }
        }
        #expect(
            try await record.store.read { try $0.nodes.list().flatMap { $0.places.keys } }.allSatisfy(living.contains))
    }
}
