import ManagerModel
import ProtocolModel

@testable import ManagerPlacement

/// The rules written down as plainly as they can be: every filter for every host, then the greatest weight. What the table
/// does fast must come out as it does here.
struct SimplePlacement {
    var hosts: [HostSnapshot]
    var holders: Set<NodeID> = []

    mutating func place(_ request: PlacementRequest) -> Placement.Decision {
        var removed = [Int](repeating: 0, count: Placement.Filter.allCases.count)
        var best: (index: Int, weight: Double)?
        for (index, host) in hosts.enumerated() {
            if let failed = Placement.Filter.allCases.firstIndex(where: { !accepts($0, host, request) }) {
                removed[failed] += 1
                continue
            }
            let weight = weight(of: host, for: request)
            if let current = best,
                current.weight > weight || (current.weight == weight && hosts[current.index].name < host.name)
            {
                continue
            }
            best = (index, weight)
        }
        guard let best else {
            return .refused(
                zip(Placement.Filter.allCases, removed).map { Refusal.FilterCount(filter: $0.rawValue, hosts: $1) })
        }
        hosts[best.index].claim(request)
        return .placed(hosts[best.index].node)
    }

    private func accepts(_ filter: Placement.Filter, _ host: HostSnapshot, _ request: PlacementRequest) -> Bool {
        let members = request.group?.members ?? [:]
        return switch filter {
        case .requested: request.nodes.isEmpty || request.nodes.contains(host.node)
        case .excluded: !request.excluded.contains(host.node)
        case .enabled: host.enabled
        case .alive: host.alive
        case .architecture: request.architecture.map { $0 == host.architecture } ?? true
        case .hardware: host.shapesHardware || !request.needsHardware
        case .zone: request.zone.map { host.profile.metadata["availability_zone"]?.contains($0) == true } ?? true
        // Tests ask for plain values alone.
        case .aggregates:
            request.aggregates.allSatisfy {
                host.profile.metadata[$0.key]?.contains($0.text) ?? ($0.text == "false")
            }
        case .group:
            switch request.group?.policy {
            case .affinity: members.isEmpty || members[host.node] ?? 0 > 0
            case .antiAffinity: (members[host.node] ?? 0) + 1 <= request.group?.maximumPerHost ?? 1
            default: true
            }
        case .vcpus: host.claimedVCPUs + request.vcpus <= host.vcpus
        case .ram: host.claimedRAMMiB + request.ramMiB <= host.ramMiB
        case .disk: host.claimedDiskGiB + request.diskGiB <= host.diskGiB
        case .topology: request.cells == nil || host.layout != nil
        case .dedicatedCPUs: request.cells.flatMap { host.layout?.cells.lack($0) } != .processors
        case .hugePages: request.cells.flatMap { host.layout?.cells.lack($0) } != .pages
        case .numa: request.cells.flatMap { host.layout?.cells.lack($0) } == nil
        case .devices: Self.ways(host).contains { Self.isEnough($0, request.devices) }
        case .reserved: !request.reserved.contains(host.node)
        case .addresses: host.freeAddresses > 0 || !request.needsAddress
        }
    }

    /// Each way in which a host's devices may be taken: those that are in no set, alone or with one set all of which serves
    /// (`isPartitioned`).
    static func ways(_ host: HostSnapshot) -> [[DeviceSnapshot]] {
        let loose = host.devices.filter { device in
            device.aliases != 0
                && host.devices.allSatisfy { $0.group != device.group || ($0.isFree && !$0.isPartitioned) }
        }
        let sets = Set(host.devices.filter(\.isPartitioned).flatMap(\.sets)).sorted().compactMap { set in
            let members = host.devices.filter { $0.isPartitioned && $0.sets.contains(set) }
            let along = host.devices.filter { device in members.contains { $0.group == device.group } }
            let isWhole = along.allSatisfy { $0.isFree && (!$0.isPartitioned || $0.sets.contains(set)) }
            return isWhole ? along.filter { $0.isPartitioned || $0.aliases != 0 } : nil
        }
        return [loose] + sets.map { loose + $0 }
    }

    /// Tries every way of giving devices to the first request, then the rest of them to the others. Those of a set must all
    /// have been given in the end.
    static func isEnough(_ devices: [DeviceSnapshot], _ requests: [DeviceRequest]) -> Bool {
        guard let first = requests.first else { return !devices.contains(where: \.isPartitioned) }
        guard first.count > 0 else { return isEnough(devices, Array(requests.dropFirst())) }
        let rest = [DeviceRequest(alias: first.alias, count: first.count - 1)] + requests.dropFirst()
        return devices.indices.contains { index in
            guard devices[index].aliases >> UInt64(first.alias) & 1 == 1 else { return false }
            var others = devices
            others.remove(at: index)
            return isEnough(others, rest)
        }
    }

    /// Spread first: the share of the scarcest resource that stays free, or packed: that is claimed. An image that is held
    /// counts as a quarter of a host, and so on.
    private func weight(of host: HostSnapshot, for request: PlacementRequest) -> Double {
        func free(_ claimed: Int, _ total: Int) -> Double { total > 0 ? 1 - Double(claimed) / Double(total) : 0 }
        let spread = min(
            free(host.claimedVCPUs + request.vcpus, host.vcpus), free(host.claimedRAMMiB + request.ramMiB, host.ramMiB))
        let claimed = max(
            host.vcpus > 0 ? Double(host.claimedVCPUs + request.vcpus) / Double(host.vcpus) : 1,
            host.ramMiB > 0 ? Double(host.claimedRAMMiB + request.ramMiB) / Double(host.ramMiB) : 1)
        var weight = host.profile.metadata["placement:policy"] == ["pack"] ? claimed : spread
        weight += request.image != nil && holders.contains(host.node) ? 0.25 : 0
        let words = host.profile.metadata["placement:weight"] ?? []
        var own = words.compactMap { Double($0) }.reduce(0, +)
        if host.isOpportunistic {
            switch request.opportunistic {
            case .last: own -= 2
            case .first: own += 2
            case .alike: break
            }
        }
        weight += own
        let members = Double(request.group?.members[host.node] ?? 0)
        switch request.group?.policy {
        case .softAffinity: weight += members
        case .softAntiAffinity: weight -= members
        default: break
        }
        return weight + devicesWeight(of: host, for: request)
    }

    private func devicesWeight(of host: HostSnapshot, for request: PlacementRequest) -> Double {
        let ways = Self.ways(host)
        guard !request.devices.isEmpty else {
            return ways.contains { $0.contains { $0.aliases != 0 } } ? -0.5 : 0
        }
        return ways.contains { way in
            Set(way.compactMap(\.numaNode)).contains { node in
                // One of a set that is elsewhere cannot be left out.
                way.allSatisfy { !$0.isPartitioned || $0.numaNode == node }
                    && Self.isEnough(way.filter { $0.numaNode == node }, request.devices)
            }
        } ? 0.5 : 0
    }
}
