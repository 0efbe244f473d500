import ManagerModel
public import ProtocolModel

/// What a host lacks for a request, part by part; nothing, where it has room.
struct Shortfall: Equatable {
    var vcpus = 0
    var ramMiB = 0
    var diskGiB = 0
    var addresses = 0
    /// Whether it has no place for processors or memory of the request's own.
    var isWithoutPlace = false
    /// By the request's aliases.
    var devices: [Int] = []

    init(of host: HostSnapshot, for request: PlacementRequest) {
        vcpus = max(0, host.claimedVCPUs + request.vcpus - host.vcpus)
        ramMiB = max(0, host.claimedRAMMiB + request.ramMiB - host.ramMiB)
        diskGiB = max(0, host.claimedDiskGiB + request.diskGiB - host.diskGiB)
        addresses = request.needsAddress && host.freeAddresses < 1 ? 1 : 0
        if let wanted = request.cells { isWithoutPlace = host.layout?.cells.lack(wanted) != nil }
        guard !request.devices.isEmpty else { return }
        let kinds = FreeDevices(host.devices).kinds
        devices = request.devices.map { wish in
            max(0, wish.count - kinds.filter { $0.aliases >> UInt64(wish.alias) & 1 == 1 }.reduce(0) { $0 + $1.count })
        }
    }

    /// The largest part, as a share of what the host has: how much of it has to become free.
    func share(of host: HostSnapshot, _ request: PlacementRequest) -> Double {
        func share(_ missing: Int, _ all: Int) -> Double { missing == 0 ? 0 : Double(missing) / Double(max(1, all)) }
        let wanted = request.devices.reduce(0) { $0 + $1.count }
        return [
            share(vcpus, host.vcpus), share(ramMiB, host.ramMiB), share(diskGiB, host.diskGiB), share(addresses, 256),
            share(devices.reduce(0, +), wanted), isWithoutPlace ? placeShare(of: host) : 0,
        ].max() ?? 0
    }

    /// Of what can be guests' alone there, how much is: how much of it has to become free nobody can say beforehand.
    private func placeShare(of host: HostSnapshot) -> Double {
        guard let layout = host.layout else { return 1 }
        let all = layout.topology.cells.reduce(0) { $0 + $1.memoryMiB } + 1
        let taken = layout.places.reduce(0) { $0 + $1.cells.reduce(0) { $0 + $1.memoryMiB } }
        return Double(min(taken + 1, all)) / Double(all)
    }
}

extension Placement {
    /// What no instance's leaving changes.
    private static let lasting: [Filter] = [.requested, .excluded, .architecture, .zone, .aggregates, .hardware]
    private static let amounts: [Filter] = [
        .vcpus, .ram, .disk, .topology, .dedicatedCPUs, .hugePages, .numa, .devices,
    ]

    /// Whether the host would have room once nobody else were on it, in service or not.
    static func couldEverTake(_ host: HostSnapshot, _ request: PlacementRequest) -> Bool {
        guard lasting.allSatisfy({ $0.accepts(host, request) }) else { return false }
        let empty = host.emptied()
        return amounts.allSatisfy { $0.accepts(empty, request) }
    }

    /// Whether it is in service, and others' leaving is all that is missing.
    static func couldTakeInTime(_ host: HostSnapshot, _ request: PlacementRequest) -> Bool {
        host.enabled && host.alive && Filter.group.accepts(host, request) && couldEverTake(host, request)
    }

    /// Whether whoever waits for a host would wait longer if a newcomer were placed there: the newcomer takes some of what the
    /// other lacks, or of what is just enough.
    public static func delays(_ waiting: PlacementRequest, on host: HostSnapshot, by newcomer: PlacementRequest) -> Bool
    {
        // Who takes devices of another name may take the NUMA node or the group that is waited for.
        if !waiting.devices.isEmpty && !newcomer.devices.isEmpty { return true }
        // So with processors, NUMA nodes and huge pages.
        if waiting.cells != nil && newcomer.cells != nil { return true }
        var later = host
        later.claim(newcomer)
        return Shortfall(of: later, for: waiting) != Shortfall(of: host, for: waiting)
    }
}

extension HostSnapshot {
    func emptied() -> HostSnapshot {
        var empty = self
        (empty.claimedVCPUs, empty.claimedRAMMiB, empty.claimedDiskGiB) = (0, 0, 0)
        for index in empty.devices.indices { empty.devices[index].isFree = true }
        empty.layout?.places = []
        return empty
    }
}

extension HostTable {
    /// Whether there is a host that would have room once nobody else were on it, in service or not.
    public func couldEverTake(_ request: PlacementRequest) -> Bool {
        hosts.contains { $0.map { Placement.couldEverTake($0, request) } ?? false }
    }

    /// The host to be kept for a request that nobody can take now: of those in service that could take it once others have left,
    /// the one where least has to become free; the first by name among equals.
    ///
    /// As nobody who would make it lack more comes to a host that is kept, what it lacks there only ever becomes less. One that
    /// is kept is given up for another that lacks less than half as much alone, so that this happens a few times at most.
    ///
    /// - Parameters:
    ///   - avoiding: hosts that are kept for others.
    ///   - isSettled: the one that is kept already will do as long as it can.
    public func hostToKeep(
        for request: PlacementRequest, keeping kept: NodeID?, avoiding: Set<NodeID>, isSettled: Bool = false
    ) -> NodeID? {
        func share(_ host: HostSnapshot) -> Double? {
            guard !avoiding.contains(host.node), Placement.couldTakeInTime(host, request) else { return nil }
            return Shortfall(of: host, for: request).share(of: host, request)
        }
        let present = kept.flatMap { self[$0] }.flatMap(share)
        if isSettled, present != nil { return kept }
        var best: (share: Double, name: String, node: NodeID)?
        for case let host? in hosts {
            guard let share = share(host) else { continue }
            if let best, (best.share, best.name) <= (share, host.name) { continue }
            best = (share, host.name, host.node)
        }
        if let present, let best, best.share * 2 >= present { return kept }
        return best?.node
    }
}
