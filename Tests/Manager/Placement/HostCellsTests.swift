import ManagerModel
import ProtocolModel
import Testing
import TestsSupportRandomness

@testable import ManagerPlacement

@Suite("NUMA nodes, processors of a guest's own, huge pages")
struct HostCellsTests {
    /// Two nodes of four cores with two threads each: processors 0-7 and 8-15; 16 GiB each, of which 4 GiB are huge pages.
    static let topology = HostTopology(
        (0..<2).map { cell in
            HostTopology.Cell(
                number: cell, memoryMiB: 16 << 10, cores: (0..<4).map { [cell * 8 + $0 * 2, cell * 8 + $0 * 2 + 1] },
                pages: [.init(sizeKiB: 2048, total: 1024), .init(sizeKiB: 1 << 20, total: 2)])
        })
    static let dedicated = ProcessorSet("2-7,10-15") ?? .none

    static func cells(_ places: [GuestPlace] = []) -> HostCells {
        HostCells(topology, dedicated: dedicated, places: places)
    }

    static func dedicated(_ vcpus: Int, cells: Int = 1, memory: Int = 1024) -> CellRequest {
        CellRequest(vcpus: vcpus, memoryMiB: memory, cells: cells, isDedicated: true)
    }

    @Test("processors are given by whole cores, then from broken ones, and to one guest alone")
    func processors() throws {
        var host = Self.cells()
        let first = try #require(host.place(Self.dedicated(3)))
        #expect(first.cells.map(\.processors) == [[2, 3, 4]])
        host.take(first)
        // The fullest node that suffices, and there the broken core.
        let second = try #require(host.place(Self.dedicated(1)))
        #expect(second.cells.map(\.processors) == [[5]])
        host.take(second)
        #expect(host.place(Self.dedicated(3))?.cells.map(\.host) == [1])
        #expect(host.lack(Self.dedicated(7)) == .together)
        #expect(host.lack(Self.dedicated(9)) == .processors)
        #expect(host.place(Self.dedicated(7, cells: 2)) == nil)
        #expect(host.place(Self.dedicated(4, cells: 2))?.cells.map(\.processors) == [[6, 7], [10, 11]])
    }

    @Test("a guest lies beside its devices where it can, and elsewhere where it cannot")
    func near() {
        #expect(Self.cells().place(Self.dedicated(2), near: [1])?.cells.map(\.host) == [1])
        let full = GuestPlace(cells: [.init(host: 1, vcpus: 6, memoryMiB: 64, processors: Array(10...15))])
        #expect(Self.cells([full]).place(Self.dedicated(2), near: [1])?.cells.map(\.host) == [0])
    }

    @Test("one that waits for processors of its own may wait where guests have them, and no other takes them meanwhile")
    func waiting() {
        var random = SeededNumbers(state: 7)
        var host = HostTableTests.host(0, using: &random)
        (host.enabled, host.alive, host.architecture, host.profile) = (true, true, "x86_64", .none)
        (host.vcpus, host.ramMiB, host.diskGiB, host.freeAddresses) = (16, 1 << 20, 1 << 10, 100)
        let full = GuestPlace(cells: [
            .init(host: 0, vcpus: 6, memoryMiB: 64, processors: Array(2...7)),
            .init(host: 1, vcpus: 6, memoryMiB: 64, processors: Array(10...15)),
        ])
        host.layout = HostLayout(Self.topology, dedicated: Self.dedicated, places: [full])
        func request(_ vcpus: Int) -> PlacementRequest {
            var request = PlacementRequest(vcpus: vcpus, ramMiB: 1024, diskGiB: 1)
            request.setCells(Self.dedicated(vcpus))
            return request
        }
        #expect(!Placement.accepts(host, request(4)))
        #expect(Placement.couldEverTake(host, request(4)) && Placement.couldTakeInTime(host, request(4)))
        #expect(!Placement.couldEverTake(host, request(7)), "a node of it has six")
        #expect(Placement.delays(request(4), on: host, by: request(1)))
        #expect(!Placement.delays(request(4), on: host, by: PlacementRequest(vcpus: 1, ramMiB: 64, diskGiB: 1)))
        host.layout = nil
        #expect(!Placement.couldEverTake(host, request(4)))
    }

    @Test("huge pages are whole, of one size, and counted; the largest that fit are taken")
    func pages() throws {
        func request(_ memory: Int, _ pages: CellRequest.Pages, cells: Int = 1) -> CellRequest {
            CellRequest(vcpus: 2, memoryMiB: memory, cells: cells, pages: pages)
        }
        var host = Self.cells()
        #expect(host.place(request(2048, .large))?.pageKiB == 1 << 20)
        #expect(host.place(request(1500, .large))?.pageKiB == 2048)
        #expect(host.place(request(1500, .size(kib: 1 << 20))) == nil)
        #expect(host.place(request(1501, .large)) == nil)
        #expect(host.lack(request(5 << 10, .size(kib: 2048))) == .pages)
        #expect(host.lack(request(3 << 10, .size(kib: 2048))) == .together)
        #expect(host.place(request(3 << 10, .size(kib: 2048), cells: 2))?.cells.map(\.memoryMiB) == [1536, 1536])
        host.take(try #require(host.place(request(2048, .size(kib: 2048)))))
        host.take(try #require(host.place(request(2048, .size(kib: 2048)))))
        #expect(host.lack(request(2, .size(kib: 2048))) == .pages)
        #expect(host.place(request(2, .large)) == nil)
    }

    @Test("where every processor of a node is some guest's alone, none is left to share, whatever is dedicated now")
    func nothingToShare() {
        let owner = GuestPlace(cells: [.init(host: 0, vcpus: 8, memoryMiB: 64, processors: Array(0...7))])
        let host = HostCells(Self.topology, dedicated: .none, places: [owner])
        #expect(host.place(CellRequest(vcpus: 1, memoryMiB: 64))?.cells.map(\.host) == [1])
        #expect(host.place(CellRequest(vcpus: 2, memoryMiB: 64, cells: 2)) == nil)
    }

    @Test("memory in huge pages that are not set aside any more is not given to others while guests have it")
    func fewerPages() {
        let place = GuestPlace(cells: [.init(host: 0, vcpus: 1, memoryMiB: 2048)], pageKiB: 2048)
        var topology = Self.topology
        topology.cells[0].pages = [.init(sizeKiB: 2048, total: 256)]
        let host = HostCells(topology, dedicated: .none, places: [place])
        // 16 GiB less 512 MiB in pages, and 1536 MiB that are no longer.
        #expect(host.cells[0].memoryMiB == 14 << 10 && host.hugeMiBBeyond == 1536)
        #expect(host.place(CellRequest(vcpus: 1, memoryMiB: (14 << 10) + 1, cells: 1))?.cells.map(\.host) != [0])
        var counted = HostCells(topology, dedicated: .none, places: [])
        #expect(counted.hugeMiBBeyond == 0)
        counted.take(place)
        #expect(counted == host)
        var node = Node(
            id: .generate(at: Timestamp(milliseconds: 1)), name: "n", certificateSerial: "",
            joinedAt: Timestamp(milliseconds: 1))
        node.inventory.topology = topology
        node.inventory.memoryBytes = 32 << 30
        node.places = [.generate(at: Timestamp(milliseconds: 1)): place]
        node.claimedRAMMiB = 2048
        let snapshot = HostSnapshot(node, profile: .none, ratios: AllocationRatios())
        // All but the guest's own and the other node's pages.
        #expect(snapshot.ramMiB == (32 << 10) - 2048 - (4 << 10) && snapshot.claimedRAMMiB == 0)
    }

    @Test("several copies have a place only one after the other")
    func copies() {
        var request = Self.dedicated(4)
        request.copies = 2
        #expect(Self.cells().lack(request) == nil)
        request.copies = 3
        #expect(Self.cells().lack(request) == .together)
        request.copies = 4
        #expect(Self.cells().lack(request) == .processors)
    }

    /// Every way of giving host nodes to the guest's cells, tried one by one.
    private static func exists(
        _ request: CellRequest, _ topology: HostTopology, _ dedicated: ProcessorSet, _ places: [GuestPlace]
    )
        -> Bool
    {
        let taken = Set(places.flatMap { $0.cells.flatMap(\.processors) })
        let sizes: [Int?] =
            switch request.pages {
            case .small: [nil]
            case .size(let kib): [kib]
            case .large: Array(Set(topology.cells.flatMap { $0.pages.map(\.sizeKiB) }))
            }
        func used(_ cell: Int, _ pageKiB: Int?) -> Int {
            places.filter { $0.pageKiB == pageKiB }.flatMap(\.cells).filter { $0.host == cell }.reduce(0) {
                $0 + $1.memoryMiB
            }
        }
        func fits(_ part: Int, _ cell: HostTopology.Cell, _ size: Int?) -> Bool {
            let vcpus = request.vcpus / request.cells + (part < request.vcpus % request.cells ? 1 : 0)
            let own = cell.processors.numbers
            if request.isDedicated {
                guard own.filter({ dedicated.contains($0) && !taken.contains($0) }).count >= vcpus else { return false }
            } else if own.allSatisfy({ dedicated.contains($0) }) {
                return false
            }
            let unit = size ?? 1024
            let units = request.memoryMiB * 1024 / unit
            let share = (units / request.cells + (part < units % request.cells ? 1 : 0)) * unit / 1024
            let huge = cell.pages.reduce(0) { $0 + $1.memoryMiB }
            let total =
                size.map { size in cell.pages.first { $0.sizeKiB == size }?.memoryMiB ?? 0 } ?? cell.memoryMiB - huge
            return used(cell.number, size) + share <= total
        }
        func search(_ part: Int, _ left: [HostTopology.Cell], _ size: Int?) -> Bool {
            if part == request.cells { return true }
            return left.contains { cell in
                fits(part, cell, size) && search(part + 1, left.filter { $0.number != cell.number }, size)
            }
        }
        return sizes.contains { size in
            (size.map { request.memoryMiB * 1024 % $0 == 0 } ?? true) && search(0, topology.cells, size)
        }
    }

    @Test(
        "a place is found exactly where there is one; no processor is given twice, and no node over its memory",
        arguments: 0..<40)
    func oracle(_ seed: Int) throws {
        var random = SeededNumbers(seed: seed)
        let cells = Int.random(in: 1...4, using: &random)
        let topology = HostTopology(
            (0..<cells).map { cell in
                let threads = Int.random(in: 1...2, using: &random)
                return HostTopology.Cell(
                    number: cell * 2, memoryMiB: Int.random(in: 4...40, using: &random) * 256,
                    cores: (0..<Int.random(in: 1...4, using: &random)).map { core in
                        (0..<threads).map { cell * 16 + core * threads + $0 }
                    },
                    pages: Bool.random(using: &random)
                        ? [.init(sizeKiB: 2048, total: Int.random(in: 0...400, using: &random))] : [])
            })
        let dedicated = ProcessorSet(
            topology.processors.numbers.filter { _ in Int.random(in: 0..<4, using: &random) > 0 })
        var places: [GuestPlace] = []
        for _ in 0..<60 {
            let count = Int.random(in: 1...3, using: &random)
            let request = CellRequest(
                vcpus: count + Int.random(in: 0...3, using: &random),
                memoryMiB: Int.random(in: 1...900, using: &random),
                cells: count, isDedicated: Bool.random(using: &random),
                pages: [.small, .small, .large, .size(kib: 2048)].randomElement(using: &random) ?? .small)
            let host = HostCells(topology, dedicated: dedicated, places: places)
            let place = host.place(request)
            #expect((place != nil) == Self.exists(request, topology, dedicated, places), "\(request) on \(host)")
            #expect((host.lack(request) == nil) == (place != nil))
            guard let place else {
                if !places.isEmpty { places.remove(at: Int.random(in: 0..<places.count, using: &random)) }
                continue
            }
            #expect(place.memoryMiB == request.memoryMiB && place.cells.reduce(0) { $0 + $1.vcpus } == request.vcpus)
            #expect(place.dedicated == (request.isDedicated ? request.vcpus : 0))
            places.append(place)
            let given = places.flatMap { $0.cells.flatMap(\.processors) }
            #expect(Set(given).count == given.count && given.allSatisfy(dedicated.contains))
            // What a running copy counts is what is worked out anew.
            var counted = host
            counted.take(place)
            #expect(counted == HostCells(topology, dedicated: dedicated, places: places))
        }
    }
}
