import ArgumentParser
import ManagerModel
import ManagerPlacement
import ProtocolModel

/// Placement as a site with GPUs has it: requests for eight of them, a mix of instances with aggregates and aliases, and a long
/// random walk of claims and releases that looks for one claim too many (P3).
struct PlacementMix: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "placement-mix")

    @Option(help: "Steps of the walk.")
    var steps = 1_000_000

    private static let now = SystemTime().timestamp

    func run() throws {
        // The slowest of a run is what else the machine did then; that of most runs is not.
        let runs = (0..<5).map { _ in Self.eightDevices() }.sorted { $0.slowest < $1.slowest }
        let eight = runs[runs.count / 2]
        report("eight_devices_milliseconds", eight.slowest)
        report("eight_devices_plain_milliseconds", eight.plain)
        let (rate, plainRate, different) = Self.mix()
        report("mixed_decisions_per_second", rate)
        report("mixed_plain_decisions_per_second", plainRate)
        report("mixed_decisions_unlike_the_plain_rules", Double(different))
        report("steps", Double(steps))
        report("claims_too_many", Double(Self.walk(steps)))
    }

    /// The slowest of a thousand decisions for eight GPUs, until each of a thousand hosts with eight has given all; half of the
    /// hosts have given one before, and are looked at in vain. Beside it, one by the plain rules, each host for itself.
    private static func eightDevices() -> (slowest: Double, plain: Double) {
        var table = HostTable(
            (0..<1000).map { number in
                var host = host(number, profile: .none, devices: 8)
                (host.enabled, host.alive) = (true, true)
                for index in host.devices.indices { host.devices[index].aliases = 1 }
                if number % 2 == 0 { host.devices[3].isFree = false }
                return host
            })
        let request = PlacementRequest(
            vcpus: 1, ramMiB: 1, diskGiB: 1, devices: [DeviceRequest(alias: 0, count: 8)])
        var slowest = Duration.zero
        let asked = ContinuousClock.now
        guard table.explain(request, limit: 1).candidates == 500 else { fatalError("five hundred hosts have room") }
        let plain = ContinuousClock.now - asked
        for number in 0..<501 {
            let began = ContinuousClock.now
            let decision = table.place(request)
            slowest = max(slowest, .now - began)
            if case .placed = decision, number == 500 { fatalError("five hundred hosts have room for five hundred") }
            if case .refused = decision, number < 500 { fatalError("five hundred hosts have room for five hundred") }
        }
        return (slowest / .milliseconds(1), plain / .milliseconds(1))
    }

    private static func mix() -> (rate: Double, plainRate: Double, different: Int) {
        let profiles = profiles()
        var random = SplitMix(state: 1)
        let hosts = (0..<10_000).map { number in
            host(number, profile: profiles[number % profiles.count], devices: number % 4 == 0 ? 8 : 0)
        }
        var (decisions, plainDecisions, different) = (0, 0, 0)
        var (taken, plainTaken) = (Duration.zero, Duration.zero)
        for round in 0..<20 {
            var table = HostTable(hosts)
            let requests = (0..<1000).map { _ in request(using: &random) }
            // The same decisions twice: once for the time, and once beside the plain rules.
            let began = ContinuousClock.now
            for request in requests { _ = table.place(request) }
            taken += .now - began
            decisions += requests.count
            guard round == 0 else { continue }
            table = HostTable(hosts)
            for (number, request) in requests.enumerated() {
                guard number % 10 == 0 else {
                    _ = table.place(request)
                    continue
                }
                let asked = ContinuousClock.now
                let plain = table.explain(request, limit: 1)
                plainTaken += .now - asked
                plainDecisions += 1
                let decision = table.place(request)
                switch decision {
                case .placed(let node): if plain.ranking.first?.name != table[node]?.name { different += 1 }
                case .refused: if plain.candidates > 0 { different += 1 }
                }
            }
        }
        return (
            Double(decisions) / (taken / .seconds(1)), Double(plainDecisions) / (plainTaken / .seconds(1)), different
        )
    }

    /// - Returns: how often a host had less than was claimed of it, or a device was taken twice.
    private static func walk(_ steps: Int) -> Int {
        var random = SplitMix(state: 7)
        let profiles = profiles()
        let nodes = (0..<6).map { host($0, size: 16, profile: profiles[$0], devices: $0 % 2 == 0 ? 8 : 0) }
        var table = HostTable(nodes)
        var claims: [(node: NodeID, request: PlacementRequest, devices: [String])] = []
        var tooMany = 0
        for _ in 0..<steps {
            if !claims.isEmpty, random.next() % 5 < 2 {
                let claim = claims.remove(at: Int(random.next() % UInt64(claims.count)))
                guard var host = table[claim.node] else { continue }
                host.claimedVCPUs -= claim.request.vcpus
                host.claimedRAMMiB -= claim.request.ramMiB
                host.claimedDiskGiB -= claim.request.diskGiB
                host.freeAddresses += 1
                for index in host.devices.indices where claim.devices.contains(host.devices[index].address) {
                    host.devices[index].isFree = true
                }
                table.set(host)
                continue
            }
            let request = request(using: &random)
            let before = nodes.compactMap { table[$0.node] }
            guard case .placed(let node) = table.place(request), let host = table[node],
                let known = before.first(where: { $0.node == node })
            else { continue }
            let devices = known.devices(for: request) ?? []
            claims.append((node, request, devices))
            let taken = known.devices.filter { devices.contains($0.address) }
            let isFine =
                host.claimedVCPUs <= host.vcpus && host.claimedRAMMiB <= host.ramMiB
                && host.claimedDiskGiB <= host.diskGiB && host.freeAddresses >= 0 && taken.allSatisfy(\.isFree)
                && taken.count >= request.devices.reduce(0) { $0 + $1.count }
            if !isFine { tooMany += 1 }
        }
        return tooMany
    }

    /// Twenty aggregates, of which a host is in two.
    private static func profiles() -> [HostProfile] {
        func aggregate(_ metadata: [String: String]) -> Aggregate {
            Aggregate(id: .generate(at: now), name: "a", metadata: metadata, createdAt: now, updatedAt: now)
        }
        let zones = (0..<10).map { aggregate(["availability_zone": "zone\($0)"]) }
        let kinds = (0..<10).map { number in
            aggregate(["gpu": "\(number % 2 == 0)", "tier": "tier\(number)", "placement:weight": "\(number % 3)"])
        }
        return zones.flatMap { zone in kinds.map { HostProfile([zone, $0]) } }
    }

    private static func host(_ number: Int, size: Int = 64, profile: HostProfile, devices: Int) -> HostSnapshot {
        HostSnapshot(
            node: .generate(at: now), name: "cn\(number)", enabled: number % 50 != 49, alive: number % 50 != 48,
            architecture: "x86_64", vcpus: size, ramMiB: size * 4096, diskGiB: size * 100,
            claimedVCPUs: number % (size / 4), claimedRAMMiB: 0, claimedDiskGiB: 0, freeAddresses: 250,
            isOpportunistic: number % 7 == 0, profile: profile,
            devices: (0..<devices).map { index in
                DeviceSnapshot(
                    address: "0000:\(index):00.0", numaNode: index / 4, group: Int32(index),
                    aliases: number % 8 == 0 ? 1 : 2)
            })
    }

    private static func request(using random: inout SplitMix) -> PlacementRequest {
        let choice = random.next() % 10
        let size = 1 << Int(random.next() % 4)
        var request = PlacementRequest(vcpus: size, ramMiB: size * 2048, diskGiB: size * 10, architecture: "x86_64")
        switch choice {
        case 0, 1:
            request.devices = [
                DeviceRequest(alias: Int(random.next() % 2), count: [1, 1, 2, 4, 8][Int(random.next() % 5)])
            ]
        case 2, 3: request.zone = "zone\(random.next() % 10)"
        case 4, 5, 6:
            request.aggregates = [AggregateRequirement(key: "gpu", value: "\(choice % 2 == 0)")].compactMap { $0 }
        case 7: request.opportunistic = .first
        default: break
        }
        return request
    }
}

/// Random numbers that a seed repeats.
private struct SplitMix {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
