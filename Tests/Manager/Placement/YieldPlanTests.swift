import ManagerModel
import ProtocolModel
import TestsSupportRandomness
import Testing

@testable import ManagerPlacement

/// Which instances yield to one that may not be preempted.
@Suite("Who yields")
struct YieldPlanTests {
    private static let start = Timestamp(milliseconds: 1_790_000_000_000)

    private static func host(_ name: String, claimed: Int, devices: Int = 0, seed: Int = 1) -> HostSnapshot {
        var random = SeededNumbers(seed: seed)
        return HostSnapshot(
            node: .generate(at: start, using: &random), name: name, enabled: true, alive: true, architecture: "x86_64",
            vcpus: 16, ramMiB: 16_000, diskGiB: 100, claimedVCPUs: claimed, claimedRAMMiB: claimed * 1000,
            claimedDiskGiB: 10, freeAddresses: 10,
            devices: (0..<devices).map {
                DeviceSnapshot(address: "\($0)", numaNode: 0, group: Int32($0), aliases: 1, isFree: false)
            })
    }

    private static func yielders(_ sizes: [(vcpus: Int, priority: Int, age: Int)]) -> [Yielder] {
        var random = SeededNumbers(seed: 3)
        return sizes.map { size in
            Yielder(
                instance: .generate(at: start, using: &random), vcpus: size.vcpus, ramMiB: size.vcpus * 1000,
                priority: size.priority, since: start + .seconds(-size.age))
        }
    }

    private static func wanted(_ vcpus: Int) -> PlacementRequest {
        PlacementRequest(vcpus: vcpus, ramMiB: vcpus * 1000, diskGiB: 1)
    }

    @Test("the fewest: one large one rather than two small ones, two rather than three")
    func fewest() throws {
        let yielders = Self.yielders([(2, -5, 1), (2, -5, 1), (2, -5, 1), (4, 5, 1000), (3, 0, 10)])
        let host = Self.host("a", claimed: 16)
        #expect(YieldPlan.on(host, for: Self.wanted(4), yielders)?.yielders == [yielders[3]])
        let two = try #require(YieldPlan.on(host, for: Self.wanted(5), yielders)).yielders
        #expect(two.count == 2 && two.reduce(0) { $0 + $1.vcpus } >= 5)
        #expect(YieldPlan.on(host, for: Self.wanted(14), yielders) == nil, "all together are not enough")
    }

    @Test("among equals low priority goes first, then the youngest")
    func order() {
        let yielders = Self.yielders([(4, 0, 50), (4, -1, 1000), (4, -1, 20)])
        #expect(YieldPlan.on(Self.host("a", claimed: 16), for: Self.wanted(4), yielders)?.yielders == [yielders[2]])
    }

    @Test("what has no guest gives its share before any guest is stopped")
    func stopped() {
        var yielders = Self.yielders([(8, 0, 5), (4, 0, 5), (4, 0, 5)])
        yielders[1].hasGuest = false
        yielders[2].hasGuest = false
        let plan = YieldPlan.on(Self.host("a", claimed: 16), for: Self.wanted(8), yielders)
        #expect(plan?.guests == 0)
        #expect(Set(plan?.yielders.map(\.instance) ?? []) == Set(yielders[1...].map(\.instance)))
    }

    @Test("devices come free with those that have them; disks do not")
    func devices() {
        var yielders = Self.yielders([(1, 0, 5), (1, 0, 50)])
        yielders[1].devices = ["0"]
        var request = Self.wanted(1)
        request.devices = [DeviceRequest(alias: 0, count: 1)]
        let host = Self.host("a", claimed: 2, devices: 1)
        #expect(YieldPlan.on(host, for: request, yielders)?.yielders == [yielders[1]])
        request.diskGiB = 91
        #expect(YieldPlan.on(host, for: request, yielders) == nil)
    }

    @Test("of several hosts the one where fewest guests are stopped, and none that is kept for others")
    func hosts() {
        let (a, b) = (Self.host("a", claimed: 16, seed: 1), Self.host("b", claimed: 16, seed: 2))
        let small = Self.yielders([(2, 0, 1), (2, 0, 1), (2, 0, 1), (2, 0, 1)])
        let large = Self.yielders([(8, 50, 9000)])
        let table = HostTable([a, b])
        let all = [a.node: small, b.node: large]
        #expect(table.yieldPlan(for: Self.wanted(8), all, avoiding: [])?.node == b.node)
        #expect(table.yieldPlan(for: Self.wanted(8), all, avoiding: [b.node])?.yielders.count == 4)
        #expect(table.yieldPlan(for: Self.wanted(8), all, avoiding: [a.node, b.node]) == nil)
    }

    @Test("always enough, and nobody whose place could be spared", arguments: 1...200)
    func minimal(seed: Int) {
        var random = SeededNumbers(seed: seed)
        let host = Self.host("a", claimed: 16)
        let yielders = Self.yielders(
            (0..<Int.random(in: 1...8, using: &random)).map { _ in
                (
                    Int.random(in: 1...4, using: &random), Int.random(in: -2...2, using: &random),
                    Int.random(in: 0...100, using: &random)
                )
            })
        let request = Self.wanted(Int.random(in: 1...16, using: &random))
        guard let plan = YieldPlan.on(host, for: request, yielders) else {
            #expect(!Placement.accepts(host.without(yielders), request))
            return
        }
        #expect(Placement.accepts(host.without(plan.yielders), request))
        for index in plan.yielders.indices {
            var fewer = plan.yielders
            fewer.remove(at: index)
            #expect(!Placement.accepts(host.without(fewer), request))
        }
        let best = (0..<(1 << yielders.count)).filter { subset in
            let chosen = yielders.indices.filter { subset >> $0 & 1 == 1 }.map { yielders[$0] }
            return Placement.accepts(host.without(chosen), request)
        }.map(\.nonzeroBitCount).min()
        if let best, best <= 2 { #expect(plan.guests == best) }
    }
}
