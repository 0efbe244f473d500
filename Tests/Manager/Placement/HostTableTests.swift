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

    /// Few, so that hosts have the same; two are as different as can be.
    static let profiles: [HostProfile] = [
        [:], [:], ["gpu": "true", "availability_zone": "north"], ["gpu": "false"], ["placement:policy": "pack"],
        ["availability_zone": "south", "placement:weight": "0.5", "tier": "gold,silver"],
    ].map { metadata in
        HostProfile([
            Aggregate(id: .generate(at: now), name: "a", metadata: metadata, createdAt: now, updatedAt: now)
        ])
    }

    /// More classes than a block's summary has bits.
    private static func profile(using random: inout SeededNumbers) -> HostProfile {
        guard .random(in: 0..<4, using: &random) == 0 else { return profiles.randomElement(using: &random) ?? .none }
        let metadata = ["rack": "\(Int.random(in: 0..<90, using: &random))", "gpu": "\(Bool.random(using: &random))"]
        return HostProfile([
            Aggregate(id: .generate(at: now), name: "a", metadata: metadata, createdAt: now, updatedAt: now)
        ])
    }

    private static func devices(using random: inout SeededNumbers) -> [DeviceSnapshot] {
        guard .random(in: 0..<3, using: &random) == 0 else { return [] }
        let areJoined = Bool.random(using: &random)
        return (0..<Int.random(in: 0...5, using: &random)).map { index in
            let isPartitioned = areJoined && .random(in: 0..<4, using: &random) > 0
            return DeviceSnapshot(
                address: "0000:0\(index):00.0", numaNode: [nil, 0, 1].randomElement(using: &random) ?? nil,
                group: areJoined
                    ? Int32(index) - .random(in: 0..<2, using: &random) : .random(in: 0..<4, using: &random),
                aliases: .random(in: 0..<8, using: &random), isFree: .random(in: 0..<6, using: &random) > 0,
                isPartitioned: isPartitioned,
                sets: isPartitioned ? (0..<3).filter { _ in .random(using: &random) } : [])
        }
    }

    static func host(_ number: Int, using random: inout SeededNumbers) -> HostSnapshot {
        // Few kinds of hosts, so that ties are common; names are not in the order of arrival.
        let size = [4, 8, 8, 8, 64].randomElement(using: &random) ?? 8
        var host = HostSnapshot(
            node: .generate(at: now, using: &random), name: "cn\((number * 7919) % 1009)-\(number)",
            enabled: .random(in: 0..<10, using: &random) > 0, alive: .random(in: 0..<10, using: &random) > 0,
            architecture: .random(in: 0..<8, using: &random) == 0 ? "aarch64" : "x86_64",
            vcpus: .random(in: 0..<20, using: &random) == 0 ? 0 : size, ramMiB: size * 1024, diskGiB: size * 10,
            claimedVCPUs: 0, claimedRAMMiB: 0, claimedDiskGiB: 0, freeAddresses: .random(in: 0...20, using: &random),
            isOpportunistic: .random(in: 0..<4, using: &random) == 0, profile: profile(using: &random),
            devices: devices(using: &random))
        host.shapesHardware = .random(in: 0..<4, using: &random) > 0
        if .random(in: 0..<3, using: &random) > 0 {
            host.layout = HostLayout(HostCellsTests.topology, dedicated: HostCellsTests.dedicated, places: [])
        }
        return host
    }

    static func request(
        _ hosts: [HostSnapshot], _ image: ImageID, using random: inout SeededNumbers
    ) -> PlacementRequest {
        func some(_ most: Int) -> Set<NodeID> {
            guard .random(in: 0..<6, using: &random) == 0 else { return [] }
            // One of them may not be here.
            return Set(
                (0..<most).compactMap { _ in hosts.randomElement(using: &random)?.node } + [
                    .generate(at: now, using: &random)
                ])
        }
        var request = PlacementRequest(
            vcpus: .random(in: 0...4, using: &random), ramMiB: .random(in: 0...4096, using: &random),
            diskGiB: .random(in: 1...30, using: &random),
            architecture: [nil, "x86_64", "x86_64", "aarch64", "riscv64"].randomElement(using: &random) ?? nil,
            image: .random(using: &random) ? image : nil, nodes: some(3), excluded: some(4),
            zone: [nil, nil, nil, nil, "north", "south", "west"].randomElement(using: &random) ?? nil,
            opportunistic: FlavorRequirements.Opportunistic.allCases.randomElement(using: &random) ?? .last)
        if .random(in: 0..<3, using: &random) == 0 {
            let (key, value) =
                [("gpu", "true"), ("gpu", "false"), ("tier", "gold")].randomElement(using: &random) ?? ("", "")
            request.aggregates = [AggregateRequirement(key: key, value: value)].compactMap { $0 }
        }
        if .random(in: 0..<4, using: &random) == 0 {
            request.devices = Array([0, 1, 2].shuffled(using: &random).prefix(.random(in: 1...2, using: &random))).map {
                DeviceRequest(alias: $0, count: .random(in: 1...2, using: &random))
            }
        }
        if .random(in: 0..<3, using: &random) == 0,
            let policy = ServerGroup.Policy.allCases.randomElement(using: &random)
        {
            let members = hosts.shuffled(using: &random).prefix(.random(in: 0...3, using: &random))
            request.group = GroupPlacement(
                policy, maximumPerHost: .random(in: 1...3, using: &random),
                members: Dictionary(members.map { ($0.node, Int.random(in: 1...3, using: &random)) }) { first, _ in
                    first
                })
        }
        request.needsHardware = .random(in: 0..<5, using: &random) == 0
        if .random(in: 0..<5, using: &random) == 0 {
            let cells = Int.random(in: 1...2, using: &random)
            request.setCells(
                CellRequest(
                    vcpus: cells + Int.random(in: 0...2, using: &random),
                    memoryMiB: 2 * .random(in: 1...900, using: &random),
                    cells: cells, isDedicated: .random(using: &random),
                    pages: [.small, .large, .size(kib: 2048)].randomElement(using: &random) ?? .small))
        }
        return request
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
                simple.hosts[changed].profile = Self.profile(using: &random)
                simple.hosts[changed].devices = Self.devices(using: &random)
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

    /// `Benchmarks/placement` takes a million steps of the same in a release build.
    @Test("never claims more than there is, nor a device twice, whatever is asked and released (P3)", arguments: 0..<20)
    func capacity(seed: Int) {
        var random = SeededNumbers(seed: seed)
        let hosts = (0..<5).map { Self.host($0, using: &random) }
        var table = HostTable(hosts)
        var claims: [(node: NodeID, request: PlacementRequest, devices: [String])] = []
        for _ in 0..<400 {
            if .random(in: 0..<3, using: &random) == 0, let index = claims.indices.randomElement(using: &random) {
                let claim = claims.remove(at: index)
                guard var host = table[claim.node] else { continue }
                host.claimedVCPUs -= claim.request.vcpus
                host.claimedRAMMiB -= claim.request.ramMiB
                host.claimedDiskGiB -= claim.request.diskGiB
                host.freeAddresses += 1
                for device in host.devices.indices where claim.devices.contains(host.devices[device].address) {
                    host.devices[device].isFree = true
                }
                table.set(host)
                continue
            }
            let request = Self.request(hosts, .generate(at: Self.now), using: &random)
            let before = Dictionary(uniqueKeysWithValues: hosts.map { ($0.node, table[$0.node]) })
            guard case .placed(let node) = table.place(request), let host = table[node], let known = before[node] ?? nil
            else { continue }
            let devices = known.devices(for: request) ?? []
            claims.append((node, request, devices))
            #expect(host.claimedVCPUs <= host.vcpus && host.claimedRAMMiB <= host.ramMiB)
            #expect(host.claimedDiskGiB <= host.diskGiB && host.freeAddresses >= 0)
            let taken = known.devices.filter { devices.contains($0.address) }
            let wereFree = taken.allSatisfy(\.isFree)
            #expect(wereFree)
            #expect(SimplePlacement.isEnough(taken, request.devices))
            let groups = Set(taken.map(\.group))
            let areWhole = host.devices.allSatisfy { !groups.contains($0.group) || !$0.isFree }
            #expect(areWhole)
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
        let host = HostSnapshot(node, profile: .none, ratios: AllocationRatios(of: node, in: []))
        #expect(host.vcpus == 1 << 52)
        #expect(host.ramMiB == 1 << 52)
        #expect(host.diskGiB == 0)
        var table = HostTable([host])
        #expect(table.place(PlacementRequest(vcpus: 1, ramMiB: 0, diskGiB: 0)) == .placed(node.id))
    }
}

extension HostTableTests {
    /// A host with room, of which the devices matter alone.
    static func host(with devices: [DeviceSnapshot], number: Int = 0) -> HostSnapshot {
        HostSnapshot(
            node: .generate(at: now), name: "cn\(number)", enabled: true, alive: true, architecture: "x86_64",
            vcpus: 64,
            ramMiB: 65_536, diskGiB: 1000, claimedVCPUs: 0, claimedRAMMiB: 0, claimedDiskGiB: 0, freeAddresses: 100,
            devices: devices)
    }
}
