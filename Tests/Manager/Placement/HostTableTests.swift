import ManagerModel
import ProtocolModel
import Testing
import TestsSupportRandomness

@testable import ManagerPlacement

extension SeededNumbers {
    /// Seeds that follow each other begin far apart.
    init(seed: Int) { self.init(state: UInt64(truncatingIfNeeded: seed) &* 0x9E37_79B9_7F4A_7C15) }
}

@Suite("Host table")
struct HostTableTests {
    static let now = Timestamp(milliseconds: 1_790_000_000_000)

    static func host(_ number: Int, using random: inout SeededNumbers) -> HostSnapshot {
        // Few kinds of hosts, so that ties are common; names are not in the order of arrival.
        let size = [4, 8, 8, 8, 64].randomElement(using: &random) ?? 8
        return HostSnapshot(
            node: .generate(at: now, using: &random), name: "cn\((number * 7919) % 1009)-\(number)",
            enabled: .random(in: 0..<10, using: &random) > 0, alive: .random(in: 0..<10, using: &random) > 0,
            architecture: .random(in: 0..<8, using: &random) == 0 ? "aarch64" : "x86_64",
            vcpus: .random(in: 0..<20, using: &random) == 0 ? 0 : size, ramMiB: size * 1024, diskGiB: size * 10,
            claimedVCPUs: 0, claimedRAMMiB: 0, claimedDiskGiB: 0, freeAddresses: .random(in: 0...20, using: &random))
    }

    static func request(
        _ hosts: [HostSnapshot], _ image: ImageID, using random: inout SeededNumbers
    ) -> PlacementRequest {
        PlacementRequest(
            vcpus: .random(in: 0...4, using: &random), ramMiB: .random(in: 0...4096, using: &random),
            diskGiB: .random(in: 1...30, using: &random),
            architecture: [nil, "x86_64", "x86_64", "aarch64", "riscv64"].randomElement(using: &random) ?? nil,
            image: .random(using: &random) ? image : nil,
            node: .random(in: 0..<10, using: &random) == 0
                ? (.random(using: &random)
                    ? .generate(at: now, using: &random) : hosts.randomElement(using: &random)?.node)
                : nil)
    }

    @Test("decides as the simple rules do, whatever changes in between", arguments: 0..<60)
    func likeTheSimpleOne(seed: Int) {
        var random = SeededNumbers(seed: seed)
        let image = ImageID.generate(at: Self.now, using: &random)
        // Some fleets of several blocks.
        var number = Int.random(in: 0..<(seed % 3 == 0 ? 400 : 40), using: &random)
        var simple = SimplePlacement(hosts: (0..<number).map { Self.host($0, using: &random) })
        var table = HostTable(simple.hosts)
        table.setHeldBy([], image: image)
        for _ in 0..<300 {
            switch Int.random(in: 0..<12, using: &random) {
            case 0:
                number += 1
                let host = Self.host(number, using: &random)
                simple.hosts.append(host)
                table.set(host)
            case 1:
                guard let gone = simple.hosts.indices.randomElement(using: &random) else { break }
                let host = simple.hosts.remove(at: gone)
                simple.holders.remove(host.node)
                table.remove(host.node)
            case 2:
                guard let changed = simple.hosts.indices.randomElement(using: &random) else { break }
                simple.hosts[changed].enabled.toggle()
                simple.hosts[changed].freeAddresses = .random(in: 0...5, using: &random)
                simple.hosts[changed].claimedVCPUs = .random(in: 0...6, using: &random)
                if .random(using: &random) { simple.hosts[changed].name += "a" }
                table.set(simple.hosts[changed])
            case 3:
                guard let holder = simple.hosts.randomElement(using: &random)?.node else { break }
                let isHeld = simple.holders.remove(holder) == nil
                if isHeld { simple.holders.insert(holder) }
                table.setHeld(image, on: holder, isHeld)
            case 4:
                table.forget(image)
                #expect(!table.knows(image))
                table.setHeldBy(simple.holders, image: image)
            default:
                let request = Self.request(simple.hosts, image, using: &random)
                let (wanted, found) = (simple.place(request), table.place(request))
                #expect(wanted == found)
            }
            #expect(table.count == simple.hosts.count)
        }
        for host in simple.hosts { #expect(table[host.node] == host) }
    }

    @Test("never claims more than there is, whatever is asked (P3)", arguments: 0..<50)
    func capacity(seed: Int) {
        var random = SeededNumbers(seed: seed)
        let hosts = (0..<5).map { Self.host($0, using: &random) }
        var table = HostTable(hosts)
        for _ in 0..<100 { _ = table.place(Self.request(hosts, .generate(at: Self.now), using: &random)) }
        for host in hosts.compactMap({ table[$0.node] }) {
            #expect(host.claimedVCPUs <= host.vcpus)
            #expect(host.claimedRAMMiB <= host.ramMiB)
            #expect(host.claimedDiskGiB <= host.diskGiB)
            #expect(host.freeAddresses >= 0)
        }
    }

    @Test("takes what a host or an operator may say, however large (P10)")
    func extremes() {
        var node = Node(id: .generate(at: Self.now), name: "a", certificateSerial: "1", joinedAt: Self.now)
        node.inventory.memoryBytes = .max
        node.inventory.diskBytes = .max
        node.inventory.cpuCount = .max
        node.inventory.guestSubnet = "10.0.0.0/8"
        node.cpuAllocationRatio = .greatestFiniteMagnitude
        node.ramAllocationRatio = .infinity
        node.diskAllocationRatio = .nan
        node.liveness = .alive
        let host = HostSnapshot(node)
        #expect(host.vcpus == 1 << 52)
        #expect(host.ramMiB == 1 << 52)
        #expect(host.diskGiB == 0)
        var table = HostTable([host])
        #expect(table.place(PlacementRequest(vcpus: 1, ramMiB: 0, diskGiB: 0)) == .placed(node.id))
    }
}
