import ManagerModel
import ProtocolModel
import Testing
import TestsSupportRandomness

@testable import ManagerPlacement

@Suite("Placement")
struct PlacementTests {
    static let now = Timestamp(milliseconds: 1_790_000_000_000)

    static func host(
        _ name: String, enabled: Bool = true, alive: Bool = true, vcpus: Int = 8, ramMiB: Int = 8192,
        diskGiB: Int = 100,
        claimed: Int = 0, addresses: Int = 253
    ) -> HostSnapshot {
        HostSnapshot(
            node: .generate(at: now), name: name, enabled: enabled, alive: alive, architecture: "x86_64", vcpus: vcpus,
            ramMiB: ramMiB, diskGiB: diskGiB, claimedVCPUs: claimed, claimedRAMMiB: claimed * 1024,
            claimedDiskGiB: claimed * 10, freeAddresses: addresses)
    }

    static let request = PlacementRequest(vcpus: 1, ramMiB: 1024, diskGiB: 10)

    @Test("a refusal says how many hosts each filter removed")
    func refusal() {
        var placement = HostTable([
            Self.host("a", enabled: false), Self.host("b", alive: false), Self.host("c", vcpus: 0),
            Self.host("d", ramMiB: 1023), Self.host("e", diskGiB: 9), Self.host("f", addresses: 0),
        ])
        guard case .refused(let counts) = placement.place(Self.request) else {
            Issue.record("an instance was placed on an unfit host")
            return
        }
        #expect(counts.map(\.filter) == Placement.Filter.allCases.map(\.rawValue))
        let removed = Dictionary(uniqueKeysWithValues: counts.filter { $0.hosts > 0 }.map { ($0.filter, $0.hosts) })
        #expect(removed == ["enabled": 1, "alive": 1, "vcpus": 1, "ram": 1, "disk": 1, "addresses": 1])
    }

    @Test("spreads over equal hosts, and prefers the one that holds the image")
    func weights() {
        let hosts = [Self.host("a"), Self.host("b"), Self.host("c")]
        var request = Self.request
        request.image = .generate(at: Self.now)
        var table = HostTable(hosts)
        table.setHeldBy([hosts[2].node], image: request.image ?? .generate(at: Self.now))
        #expect(table.place(request) == .placed(hosts[2].node))
        #expect(table.place(Self.request) == .placed(hosts[0].node))
        var equal = HostTable(hosts.prefix(2))
        let places = (0..<4).map { _ in equal.place(Self.request) }
        #expect(Set(places.map { "\($0)" }).count == 2)
        #expect(hosts.prefix(2).map { equal[$0.node]?.claimedVCPUs } == [2, 2])
    }

    @Test("gives out each address of a subnet once, and not the node's own")
    func addresses() throws {
        let subnet = try #require(GuestSubnet("10.77.1.0/29"))
        var taken: Set<String> = []
        while let address = subnet.firstFree(taken: taken) { taken.insert(address) }
        #expect(taken == ["10.77.1.2", "10.77.1.3", "10.77.1.4", "10.77.1.5", "10.77.1.6"])
        #expect(subnet.capacity == 5)
    }

    @Test("gives out the lowest address that is free, and is not misled by what is no address")
    func lowestAddress() throws {
        let subnet = try #require(GuestSubnet("10.77.0.0/22"))
        var taken = Set((2...255).map { "10.77.0.\($0)" } + (0...255).map { "10.77.1.\($0)" })
        #expect(subnet.firstFree(taken: taken) == "10.77.2.0")
        taken.remove("10.77.1.7")
        #expect(subnet.firstFree(taken: taken) == "10.77.1.7")
        #expect(subnet.firstFree(taken: ["", "10.77.0", "10.77.0.2.1", "10.77.0.258", "a.b.c.d"]) == "10.77.0.2")
    }

    @Test("gives out all addresses of a subnet in order, whatever was taken before", arguments: 0..<20)
    func addressesInUse(seed: Int) throws {
        var random = SeededNumbers(seed: seed)
        let subnet = try #require(GuestSubnet("10.1.2.0/25"))
        var taken = Set((0..<60).map { _ in "10.1.2.\(Int.random(in: 0...140, using: &random))" })
        var known = AddressesInUse(of: subnet, taken)
        while let address = known.takeLowest() {
            let lowest = (2...126).map { "10.1.2.\($0)" }.first { !taken.contains($0) }
            #expect(address == lowest)
            taken.insert(address)
        }
        #expect((2...126).allSatisfy { taken.contains("10.1.2.\($0)") })
    }

    @Test("refuses what is no subnet", arguments: ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/24", "300.0.0.0/24", "a/24"])
    func badSubnets(text: String) {
        #expect(GuestSubnet(text) == nil)
    }
}
