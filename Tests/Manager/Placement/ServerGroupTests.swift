import ManagerModel
import ProtocolModel
import Testing
import TestsSupportRandomness

@testable import ManagerPlacement

/// Groups that grow, shrink and move hosts about, one instance after the other as they are created (SCH-06).
@Suite("Server groups in placement")
struct ServerGroupTests {
    private static func hosts(_ count: Int, using random: inout SeededNumbers) -> [HostSnapshot] {
        (0..<count).map { number in
            let size = [4, 8, 8, 16].randomElement(using: &random) ?? 8
            return PlacementTests.host("h\(number)", vcpus: size, ramMiB: size * 1024)
        }
    }

    /// What a policy lets be, written down without the code that places by it.
    private static func expect(
        _ node: NodeID, after members: [NodeID], _ group: GroupPlacement, at location: SourceLocation = #_sourceLocation
    ) {
        let there = members.filter { $0 == node }.count
        switch group.policy {
        case .affinity: #expect(Set(members + [node]).count == 1, sourceLocation: location)
        case .antiAffinity: #expect(there < group.maximumPerHost, sourceLocation: location)
        // Wishes: the oracle says whether they were heeded.
        case .softAffinity, .softAntiAffinity: break
        }
    }

    @Test(
        "hold through any mix of instances that come and go, and hosts that fill up, as the simple rules have it",
        arguments: ServerGroup.Policy.allCases, 0..<20)
    func walk(policy: ServerGroup.Policy, seed: Int) {
        var random = SeededNumbers(seed: seed)
        let hosts = Self.hosts(.random(in: 1...8, using: &random), using: &random)
        var simple = SimplePlacement(hosts: hosts)
        var table = HostTable(hosts)
        let maximum = Int.random(in: 1...3, using: &random)
        var members: [NodeID] = []
        for _ in 0..<120 {
            if .random(in: 0..<3, using: &random) == 0, let gone = members.indices.randomElement(using: &random) {
                let node = members.remove(at: gone)
                guard let place = simple.hosts.firstIndex(where: { $0.node == node }) else { continue }
                simple.hosts[place].claimedVCPUs -= 1
                simple.hosts[place].claimedRAMMiB -= 1024
                simple.hosts[place].claimedDiskGiB -= 10
                simple.hosts[place].freeAddresses += 1
                table.set(simple.hosts[place])
                continue
            }
            var request = PlacementTests.request
            // Others' instances fill hosts, too.
            if .random(in: 0..<4, using: &random) > 0 {
                let counts = Dictionary(members.map { ($0, 1) }, uniquingKeysWith: +)
                request.group = GroupPlacement(policy, maximumPerHost: maximum, members: counts)
            }
            let found = table.place(request)
            #expect(found == simple.place(request))
            guard let group = request.group, case .placed(let node) = found else { continue }
            Self.expect(node, after: members, group)
            members.append(node)
        }
    }

    @Test("several at once are placed by each other: one after the other, or all on one host with room for all")
    func several() {
        let hosts = [("a", 2), ("b", 4), ("c", 4)].map { PlacementTests.host($0, vcpus: $1) }
        var request = PlacementTests.request
        func places(_ policy: ServerGroup.Policy, _ count: Int, maximumPerHost: Int = 1) -> [String?] {
            var table = HostTable(hosts)
            request.group = GroupPlacement(policy, maximumPerHost: maximumPerHost, members: [:])
            return (0..<count).map { _ in
                guard case .placed(let node) = table.place(request) else { return nil }
                request.group?.add(to: node)
                return table[node]?.name
            }
        }
        #expect(places(.antiAffinity, 4).map { $0 ?? "-" }.sorted() == ["-", "a", "b", "c"])
        #expect(
            places(.antiAffinity, 7, maximumPerHost: 2).map { $0 ?? "-" }.sorted() == [
                "-", "a", "a", "b", "b", "c", "c",
            ])
        #expect(Set(places(.affinity, 4)) == ["b"] && places(.affinity, 5).last == .some(nil))
        #expect(places(.softAffinity, 5).compactMap { $0 }.sorted() == ["b", "b", "b", "b", "c"])
        #expect(
            Set(places(.softAntiAffinity, 3)) == ["a", "b", "c"]
                && places(.softAntiAffinity, 7).allSatisfy { $0 != nil })
    }

    @Test("what several want together is what each of them wants, so many times")
    func together() {
        var table = HostTable([PlacementTests.host("a", claimed: 6), PlacementTests.host("b", claimed: 4)])
        let node = table.hosts.compactMap { $0 }.first { $0.name == "b" }?.node
        #expect(table.place(PlacementTests.request.together(4)) == node.map { .placed($0) })
        #expect(table.place(PlacementTests.request.together(3)) != node.map { .placed($0) })
        var request = PlacementTests.request
        request.devices = [DeviceRequest(alias: 0, count: 2)]
        #expect(request.together(3).devices == [DeviceRequest(alias: 0, count: 6)])
    }
}
