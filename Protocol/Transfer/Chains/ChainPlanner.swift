public import ProtocolModel

/// Puts nodes into chains: manager → n1 → n2 → n3, each pulling from its predecessor what that has verified. Pure and
/// deterministic: the same nodes in any order give the same plan.
///
/// A newcomer goes behind the end of a chain, first of one in its own location, so that a slow link between locations is
/// crossed once. Each node that holds the whole image is such an end, so that holders head chains of their own and the
/// manager sends nothing. Among several ends it is the one that has most of the image: the data comes soonest from there.
/// Hosts that are known to be slow come last, so that nobody is behind them.
public enum ChainPlanner {
    /// A node counts as slow below this share of the median.
    public static let slowShare = 0.7

    /// - Parameters:
    ///   - newcomers: their upstreams are not looked at.
    ///   - members: those who receive or hold the image already, with their upstreams.
    ///   - headChains: how many chains the manager begins where nobody has the image: more than one where it has
    ///     bandwidth to spare.
    /// - Returns: the upstream of each newcomer; `nil`: the manager.
    public static func place(
        _ newcomers: [ChainMember], among members: [ChainMember], headChains: Int = 1
    ) -> [NodeID: NodeID?] {
        let newcomers = unique(newcomers)
        let incoming = Set(newcomers.map(\.node))
        let others = members.filter { !incoming.contains($0.node) }
        let slow = slow(among: others + newcomers)
        var crew = ChainCrew(others, slow: slow)
        let ordered = order(newcomers, slow: slow)
        let segment = max(1, (ordered.count + max(1, headChains) - 1) / max(1, headChains))
        let beginsAnew = crew.isEmpty
        var plan: [NodeID: NodeID?] = [:]
        var previous: NodeID?
        for (position, newcomer) in ordered.enumerated() {
            var member = newcomer
            if beginsAnew {
                member.upstream = position % segment == 0 ? nil : previous
            } else {
                member.upstream = nil
                member.upstream = crew.place(for: member)
            }
            if member.isReachable, !member.isPaused { previous = member.node }
            plan.updateValue(member.upstream, forKey: member.node)
            crew.insert(member)
        }
        return plan
    }

    /// More chains would save little: a chain's length costs a chunk's time a host.
    public static let mostHeadChains = 4

    /// How many chains the manager has bandwidth for, by how fast the newcomers were; one where too little is known of it.
    ///
    /// - Parameter headBytesPerSecond: what the manager can send; `nil` where nobody said.
    public static func headChains(for newcomers: [ChainMember], headBytesPerSecond: Int64?) -> Int {
        let known = newcomers.compactMap(\.throughput)
        guard let headBytesPerSecond, let median = median(known), median > 0, known.count * 2 >= newcomers.count else {
            return 1
        }
        // A tenth is left for what else the manager sends.
        let fitting = Int(Double(headBytesPerSecond) * 0.9 / Double(median))
        return max(1, min(fitting, mostHeadChains, newcomers.count / 2))
    }

    /// Launches first; then by location, names as people count hosts. Those that are known to be slow at the end, and at the
    /// very end those that cannot be reached.
    private static func order(_ newcomers: [ChainMember], slow: Set<NodeID>) -> [ChainMember] {
        newcomers.sorted { left, right in
            // Who cannot give anything now is nobody's upstream.
            let canLeftServe = left.isReachable && !left.isPaused
            if canLeftServe != (right.isReachable && !right.isPaused) { return canLeftServe }
            let isLeftSlow = slow.contains(left.node)
            if isLeftSlow != slow.contains(right.node) { return !isLeftSlow }
            if left.priority != right.priority { return left.priority > right.priority }
            if isLeftSlow, left.throughput != right.throughput { return left.throughput ?? 0 > right.throughput ?? 0 }
            return precedes(left, right)
        }
    }

    /// Those that were seen to receive much less than most.
    static func slow(among members: [ChainMember]) -> Set<NodeID> {
        guard let median = median(members.compactMap(\.throughput)) else { return [] }
        return Set(
            members.filter { $0.throughput.map { Double($0) < slowShare * Double(median) } ?? false }.map(\.node))
    }

    private static func unique(_ members: [ChainMember]) -> [ChainMember] {
        var seen: Set<NodeID> = []
        return members.sorted(by: precedes).filter { seen.insert($0.node).inserted }
    }

    /// By location, then name with numbers read as numbers (n2 before n10), then identifier.
    static func precedes(_ left: ChainMember, _ right: ChainMember) -> Bool {
        if left.location != right.location { return NaturalOrder.precedes(left.location, right.location) }
        if left.name != right.name { return NaturalOrder.precedes(left.name, right.name) }
        return left.node < right.node
    }

    /// `nil` of nothing. Of an even number the lower one of the two in the middle.
    static func median(_ values: [Int64]) -> Int64? {
        values.isEmpty ? nil : values.sorted()[(values.count - 1) / 2]
    }
}

/// Members of an image's chains while places among them are given out.
struct ChainCrew {
    private var members: [NodeID: ChainMember] = [:]
    /// What those who pull from a node take of its bandwidth: two for a neighbour, one for a node of another location or
    /// a slow one, since these cannot take all of it.
    private var loads: [NodeID: Int] = [:]
    private var slow: Set<NodeID>
    /// Who must not be anybody's upstream.
    private var barred: Set<NodeID>

    init(_ members: [ChainMember], slow: Set<NodeID> = [], barred: Set<NodeID> = []) {
        self.slow = slow
        self.barred = barred
        for member in members { self.members[member.node] = member }
        for member in members { addLoad(of: member) }
    }

    var isEmpty: Bool { members.isEmpty }

    mutating func insert(_ member: ChainMember) {
        members[member.node] = member
        addLoad(of: member)
    }

    private mutating func addLoad(of member: ChainMember) {
        guard member.state == .fetching, !member.isPaused, member.isReachable, let upstream = member.upstream,
            let above = members[upstream]
        else { return }
        let isLight = slow.contains(member.node) || above.location != member.location
        loads[upstream, default: 0] += isLight ? 1 : 2
    }

    /// The best upstream for a node; `nil`: the manager, since nobody else has or gets the image.
    ///
    /// - Parameter excluded: the node's own descendants, which wait for it.
    func place(for newcomer: ChainMember, except excluded: Set<NodeID> = []) -> NodeID? {
        var best: (rank: Rank, member: ChainMember)?
        for candidate in members.values where isUsable(candidate) {
            guard candidate.node != newcomer.node, !excluded.contains(candidate.node) else { continue }
            let rank = rank(candidate, for: newcomer)
            if let current = best {
                guard
                    rank < current.rank
                        || rank == current.rank && ChainPlanner.precedes(candidate, current.member)
                else { continue }
            }
            best = (rank, candidate)
        }
        return best?.member.node
    }

    private func isUsable(_ member: ChainMember) -> Bool {
        member.state != .failed && member.isReachable && !barred.contains(member.node)
            && (!member.isPaused || member.state == .held)
    }

    /// Smaller is better.
    private typealias Rank = (overloaded: Int, drag: Int, loaded: Int, far: Int, load: Int, lacking: Int)

    private func rank(_ candidate: ChainMember, for newcomer: ChainMember) -> Rank {
        let load = loads[candidate.node] ?? 0
        // Behind a slow one there is room for those that are no faster.
        let isDrag =
            slow.contains(candidate.node) && candidate.throughput ?? 0 < newcomer.throughput ?? .max
        return (
            load >= 8 ? 1 : 0, isDrag ? 1 : 0, load >= 2 ? 1 : 0, candidate.location == newcomer.location ? 0 : 1, load,
            -candidate.chunksHeld
        )
    }
}
