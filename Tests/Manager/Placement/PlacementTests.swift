import ManagerModel
import ProtocolModel
import Testing

@testable import ManagerPlacement

@Suite("Placement")
struct PlacementTests {
    static let now = Timestamp(milliseconds: 1_790_000_000_000)

    static func host(
        _ name: String, enabled: Bool = true, alive: Bool = true, vcpus: Int = 8, ramMiB: Int = 8192,
        diskGiB: Int = 100,
        claimed: Int = 0, addresses: Int = 253, holdsImage: Bool = false
    ) -> HostSnapshot {
        HostSnapshot(
            node: .generate(at: now), name: name, enabled: enabled, alive: alive, architecture: "x86_64", vcpus: vcpus,
            ramMiB: ramMiB, diskGiB: diskGiB, claimedVCPUs: claimed, claimedRAMMiB: claimed * 1024,
            claimedDiskGiB: claimed * 10, freeAddresses: addresses, holdsImage: holdsImage)
    }

    static let request = PlacementRequest(vcpus: 1, ramMiB: 1024, diskGiB: 10)

    @Test("a refusal says how many hosts each filter removed")
    func refusal() {
        var placement = Placement(hosts: [
            Self.host("a", enabled: false), Self.host("b", alive: false), Self.host("c", vcpus: 0),
            Self.host("d", ramMiB: 1023), Self.host("e", diskGiB: 9), Self.host("f", addresses: 0),
        ])
        guard case .refused(let counts) = placement.place(Self.request) else {
            Issue.record("an instance was placed on an unfit host")
            return
        }
        let removed = Dictionary(uniqueKeysWithValues: counts.map { ($0.filter, $0.hosts) })
        #expect(
            removed == [
                "requested": 0, "enabled": 1, "alive": 1, "architecture": 0, "vcpus": 1, "ram": 1, "disk": 1,
                "addresses": 1,
            ])
    }

    @Test("spreads over equal hosts, and prefers the one that holds the image")
    func weights() {
        let hosts = [Self.host("a"), Self.host("b"), Self.host("c", holdsImage: true)]
        var placement = Placement(hosts: hosts)
        #expect(placement.place(Self.request) == .placed(hosts[2].node))
        var equal = Placement(hosts: [Self.host("a"), Self.host("b")])
        let places = (0..<4).map { _ in equal.place(Self.request) }
        #expect(Set(places.map { "\($0)" }).count == 2)
        #expect(equal.hosts.map(\.claimedVCPUs) == [2, 2])
    }

    @Test("never claims more than there is, whatever is asked (P3)", arguments: 0..<50)
    func capacity(seed: Int) {
        var random = SystemRandomNumberGenerator()
        var placement = Placement(
            hosts: (0..<5).map { Self.host("h\($0)", vcpus: .random(in: 0...16, using: &random), claimed: 0) })
        for _ in 0..<100 {
            _ = placement.place(
                PlacementRequest(
                    vcpus: .random(in: 1...4, using: &random), ramMiB: .random(in: 1...4096, using: &random),
                    diskGiB: .random(in: 1...40, using: &random)))
        }
        for host in placement.hosts {
            #expect(host.claimedVCPUs <= host.vcpus)
            #expect(host.claimedRAMMiB <= host.ramMiB)
            #expect(host.claimedDiskGiB <= host.diskGiB)
        }
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

    @Test("refuses what is no subnet", arguments: ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/24", "300.0.0.0/24", "a/24"])
    func badSubnets(text: String) {
        #expect(GuestSubnet(text) == nil)
    }
}
