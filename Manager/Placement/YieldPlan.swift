public import ProtocolModel

/// An instance that yields its room to others.
public struct Yielder: Sendable, Equatable {
    public var instance: InstanceID
    public var vcpus: Int
    public var ramMiB: Int
    /// Addresses of devices that it has.
    public var devices: [String]
    public var priority: Int
    /// When its guest was started, or it was placed.
    public var since: Timestamp
    /// Whether it has a guest that loses its work; a stopped one merely gives its share back.
    public var hasGuest: Bool

    public init(
        instance: InstanceID, vcpus: Int, ramMiB: Int, devices: [String] = [], priority: Int = 0, since: Timestamp,
        hasGuest: Bool = true
    ) {
        self.instance = instance
        self.vcpus = vcpus
        self.ramMiB = ramMiB
        self.devices = devices
        self.priority = priority
        self.since = since
        self.hasGuest = hasGuest
    }

    /// Whether it goes before another: stopped ones first, then low priority, then the youngest, which lose least.
    fileprivate func goesBefore(_ other: Yielder) -> Bool {
        if hasGuest != other.hasGuest { return !hasGuest }
        if priority != other.priority { return priority < other.priority }
        return since != other.since ? since > other.since : instance < other.instance
    }
}

/// Who yields on a host, so that a request has room there.
public struct YieldPlan: Sendable, Equatable {
    public var node: NodeID
    public var yielders: [Yielder]

    /// Guests that are stopped for it.
    public var guests: Int { yielders.count { $0.hasGuest } }

    /// The fewest guests of one host that suffice: exactly so for one and for two, beyond that as few as taking them in order
    /// and sparing whoever is not needed leaves. Among equally many, those of low priority and the youngest.
    ///
    /// - Parameter candidates: on that host.
    /// - Returns: `nil` where even all of them would not make room.
    public static func on(
        _ host: HostSnapshot, for request: PlacementRequest, _ candidates: [Yielder]
    ) -> YieldPlan? {
        let order = candidates.sorted { $0.goesBefore($1) }
        let isEnough = { (chosen: [Yielder]) in Placement.accepts(host.without(chosen), request) }
        guard !order.isEmpty, isEnough(order) else { return nil }
        let stopped = order.filter { !$0.hasGuest }
        let guests = order.filter(\.hasGuest)
        let chosen = fewest(guests, isEnough: { isEnough(stopped + $0) })
        return YieldPlan(
            node: host.node, yielders: sparing(stopped, isEnough: { isEnough($0 + chosen) }) + chosen)
    }

    private static func fewest(_ guests: [Yielder], isEnough: ([Yielder]) -> Bool) -> [Yielder] {
        if isEnough([]) { return [] }
        for guest in guests where isEnough([guest]) { return [guest] }
        // Pairs are tried among so many alone: a host has hardly more.
        let some = guests.prefix(64)
        for (index, second) in some.enumerated() {
            for first in some.prefix(index) where isEnough([first, second]) { return [first, second] }
        }
        var chosen: [Yielder] = []
        for guest in guests {
            chosen.append(guest)
            if isEnough(chosen) { break }
        }
        return sparing(chosen, isEnough: isEnough)
    }

    /// Leaves out whoever is not needed: from the end on, which is dearest.
    private static func sparing(_ chosen: [Yielder], isEnough: ([Yielder]) -> Bool) -> [Yielder] {
        var kept = chosen
        for index in chosen.indices.reversed() {
            let one = kept.remove(at: index)
            if !isEnough(kept) { kept.insert(one, at: index) }
        }
        return kept
    }

    /// Fewer guests first, then lower priorities, then younger ones.
    fileprivate func isBetter(than other: YieldPlan) -> Bool {
        if guests != other.guests { return guests < other.guests }
        let priorities = (yielders.map(\.priority).max() ?? 0, other.yielders.map(\.priority).max() ?? 0)
        if priorities.0 != priorities.1 { return priorities.0 < priorities.1 }
        let oldest = (yielders.map(\.since).min(), other.yielders.map(\.since).min())
        guard let mine = oldest.0, let theirs = oldest.1, mine != theirs else { return node < other.node }
        return mine > theirs
    }
}

/// What was promised of a host to others of the same request: some leave, and those come.
public struct YieldPromise: Sendable, Equatable {
    public var leaving: [Yielder] = []
    public var coming: [PlacementRequest] = []

    public init() {}
}

extension HostTable {
    /// Where, and by whose leaving, room for a request costs least; `nil`: nowhere.
    ///
    /// - Parameters:
    ///   - yielders: by the host that each is on.
    ///   - avoiding: hosts on which room is being made for others.
    ///   - promised: what else is to happen there.
    public func yieldPlan(
        for request: PlacementRequest, _ yielders: [NodeID: [Yielder]], avoiding: Set<NodeID>,
        promised: [NodeID: YieldPromise] = [:]
    ) -> YieldPlan? {
        var best: YieldPlan?
        for (node, candidates) in yielders where !avoiding.contains(node) {
            guard var host = self[node] else { continue }
            if let promise = promised[node] {
                host = host.without(promise.leaving)
                for other in promise.coming { host.claim(other) }
            }
            guard let plan = YieldPlan.on(host, for: request, candidates) else { continue }
            if best.map({ plan.isBetter(than: $0) }) ?? true { best = plan }
        }
        return best
    }
}

extension HostSnapshot {
    /// As it will be once they have left: their disks and addresses stay.
    func without(_ yielders: [Yielder]) -> HostSnapshot {
        var host = self
        for yielder in yielders {
            host.claimedVCPUs -= yielder.vcpus
            host.claimedRAMMiB -= yielder.ramMiB
        }
        let addresses = Set(yielders.flatMap(\.devices))
        for index in host.devices.indices where addresses.contains(host.devices[index].address) {
            host.devices[index].isFree = true
        }
        return host
    }
}
