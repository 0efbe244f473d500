public import ManagerModel

/// What a host's aggregates say of it, together. Many hosts have the same, so that what a request makes of it is worked out
/// once for all of them.
public struct HostProfile: Sendable, Hashable {
    /// What flavors are compared with: for each key the values of all aggregates that have it, each once. A value with commas
    /// is several.
    public let metadata: [String: [String]]
    public let zones: [String]
    /// Where aggregates differ, instances are spread.
    public let policy: AggregateRules.Policy
    /// The sum of what aggregates add.
    public let weight: Double
    /// Worked out once: profiles are looked up by it.
    private let hash: Int

    public static let none = HostProfile([])

    /// - Parameter aggregates: in an order that is always the same.
    public init(_ aggregates: [Aggregate]) {
        var metadata: [String: [String]] = [:]
        var zones: [String] = []
        var policies: Set<AggregateRules.Policy> = []
        var weight = 0.0
        for aggregate in aggregates {
            let rules = AggregateRules(aggregate.metadata)
            if let zone = rules.zone, !zones.contains(zone) { zones.append(zone) }
            if let policy = rules.policy { policies.insert(policy) }
            weight += rules.weight ?? 0
            for (key, text) in aggregate.metadata {
                for value in text.split(separator: ",") {
                    let value = value.drop { $0 == " " }
                    let end = value.lastIndex { $0 != " " }
                    guard let end, case let word = String(value[...end]), metadata[key]?.contains(word) != true else {
                        continue
                    }
                    metadata[key, default: []].append(word)
                }
            }
        }
        self.metadata = metadata.mapValues { $0.sorted() }
        self.zones = zones.sorted()
        policy = policies == [.pack] ? .pack : .spread
        self.weight = weight
        var hasher = Hasher()
        hasher.combine(self.metadata)
        hash = hasher.finalize()
    }

    public func hash(into hasher: inout Hasher) { hasher.combine(hash) }

    public func meets(_ requirements: [AggregateRequirement]) -> Bool {
        requirements.allSatisfy { $0.accepts(metadata[$0.key] ?? []) }
    }
}
