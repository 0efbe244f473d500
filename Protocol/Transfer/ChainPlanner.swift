public import ProtocolModel

/// A node that should hold an image.
public struct ReceiverCandidate: Hashable, Sendable {
    public var node: NodeID
    public var name: String
    /// Where it stands (`dc1/row2/rack7`); nodes of one location are neighbours in a chain.
    public var location: String
    /// `host:port` where it serves chunks.
    public var address: String
    /// It holds the whole image already, so that it can head a chain.
    public var alreadyHolds: Bool

    public init(node: NodeID, name: String, location: String, address: String, alreadyHolds: Bool) {
        self.node = node
        self.name = name
        self.location = location
        self.address = address
        self.alreadyHolds = alreadyHolds
    }
}

/// Who pulls an image from whom.
public struct ChainPlan: Hashable, Sendable {
    /// For each node its sources, best first; the manager is always the last.
    public var sources: [NodeID: [ChunkSource]] = [:]
    /// For each node whom it may serve.
    public var serveTo: [NodeID: Set<NodeID>] = [:]
    /// Each chain from head to tail. A chain without a holder is headed by the manager, which is not listed.
    public var chains: [[NodeID]] = []

    public init() {}
}

/// Plans chains: manager → n1 → n2 → n3, each pulling from its predecessor what that has verified. Pure and
/// deterministic: the same candidates in any order give the same plan.
///
/// Nodes that hold the image head chains of their own, first for the nodes of their location; then the manager sends
/// nothing unless a chain breaks. Each node's second source is its predecessor's predecessor, so that one dead host
/// does not send its successor to the manager.
public enum ChainPlanner {
    public static func plan(receivers: [ReceiverCandidate], manager: ChunkSource) -> ChainPlan {
        let ordered = unique(receivers).sorted(by: precedes)
        let holders = ordered.filter(\.alreadyHolds)
        let lacking = ordered.filter { !$0.alreadyHolds }
        let chains = holders.isEmpty ? [lacking] : distribute(lacking, among: holders)
        var plan = ChainPlan()
        for chain in chains where !chain.isEmpty {
            plan.chains.append(chain.map(\.node))
            link(chain, manager: manager, into: &plan)
        }
        return plan
    }

    private static func link(_ chain: [ReceiverCandidate], manager: ChunkSource, into plan: inout ChainPlan) {
        for (position, member) in chain.enumerated() {
            let upstream = member.alreadyHolds ? [] : chain[max(0, position - 2)..<position].reversed()
            plan.sources[member.node] = upstream.map { ChunkSource(node: $0.node, address: $0.address) } + [manager]
            let downstream = chain[(position + 1)...].prefix(2)
            plan.serveTo[member.node] = Set(downstream.map(\.node))
        }
    }

    /// One chain a holder. A location with holders keeps to them; any other goes whole to the shortest chain, so that a
    /// slow link between locations is crossed once.
    private static func distribute(
        _ lacking: [ReceiverCandidate], among holders: [ReceiverCandidate]
    ) -> [[ReceiverCandidate]] {
        var chains = holders.map { [$0] }
        var locations: [String] = []
        for member in lacking where locations.last != member.location { locations.append(member.location) }
        for location in locations {
            let group = lacking.filter { $0.location == location }
            let local = holders.indices.filter { holders[$0].location == location }
            guard !local.isEmpty else {
                let shortest = chains.indices.min { (chains[$0].count, $0) < (chains[$1].count, $1) } ?? 0
                chains[shortest].append(contentsOf: group)
                continue
            }
            for (position, head) in local.enumerated() {
                let from = group.count * position / local.count
                let to = group.count * (position + 1) / local.count
                chains[head].append(contentsOf: group[from..<to])
            }
        }
        return chains
    }

    private static func unique(_ receivers: [ReceiverCandidate]) -> [ReceiverCandidate] {
        var seen: [NodeID: ReceiverCandidate] = [:]
        for receiver in receivers.sorted(by: precedes) where seen[receiver.node] == nil {
            seen[receiver.node] = receiver
        }
        return Array(seen.values)
    }

    /// By location, then name with numbers read as numbers (n2 before n10), then identifier and address.
    private static func precedes(_ left: ReceiverCandidate, _ right: ReceiverCandidate) -> Bool {
        if left.location != right.location { return NaturalOrder.precedes(left.location, right.location) }
        if left.name != right.name { return NaturalOrder.precedes(left.name, right.name) }
        if left.node != right.node { return left.node < right.node }
        if left.alreadyHolds != right.alreadyHolds { return left.alreadyHolds }
        return left.address < right.address
    }
}

/// Orders names as people count hosts: runs of digits compare by value.
enum NaturalOrder {
    static func precedes(_ left: String, _ right: String) -> Bool {
        let first = parts(left)
        let second = parts(right)
        for (one, other) in zip(first, second) where one != other { return one < other }
        if first.count != second.count { return first.count < second.count }
        return left < right
    }

    private static func parts(_ text: String) -> [Part] {
        var parts: [Part] = []
        var rest = text.utf8[...]
        while let byte = rest.first {
            let digits = isDigit(byte)
            let run = rest.prefix { isDigit($0) == digits }
            rest = rest.dropFirst(run.count)
            let bytes = Array(run)
            parts.append(digits ? .number(Array(bytes.drop { $0 == 48 })) : .text(bytes))
        }
        return parts
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (48...57).contains(byte) }

    private enum Part: Equatable, Comparable {
        /// Digits without leading zeros: a longer run is a larger number, whatever its size.
        case number([UInt8])
        case text([UInt8])

        static func < (left: Self, right: Self) -> Bool {
            switch (left, right) {
            case (.number(let one), .number(let other)):
                one.count != other.count ? one.count < other.count : one.lexicographicallyPrecedes(other)
            case (.text(let one), .text(let other)): one.lexicographicallyPrecedes(other)
            case (.number, .text): true
            case (.text, .number): false
            }
        }
    }
}
