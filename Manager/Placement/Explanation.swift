extension Placement {
    /// Why a request would go where it would go: who fell out by which filter, and what the others weigh.
    public struct Explanation: Sendable, Equatable {
        public struct Removal: Sendable, Equatable {
            public var filter: Filter
            public var hosts: Int
            /// The first of them, in order of names.
            public var names: [String]
        }

        public struct Candidate: Sendable, Equatable {
            public var name: String
            public var weight: Weight
        }

        /// Hosts in all.
        public var hosts = 0
        /// In order of the filters.
        public var removals: [Removal] = []
        /// Hosts that pass every filter.
        public var candidates = 0
        /// The best of them, best first.
        public var ranking: [Candidate] = []
    }
}

extension HostTable {
    /// - Parameter limit: names for each filter, and candidates in the ranking.
    public func explain(_ request: PlacementRequest, limit: Int) -> Placement.Explanation {
        var explanation = Placement.Explanation()
        var isRemoved = ContiguousArray(repeating: false, count: hosts.count)
        var names = Placement.Filter.allCases.map { _ in [String]() }
        forEachRemoved(by: request) { filter, slot in
            isRemoved[slot] = true
            names[filter].append(hosts[slot]?.name ?? "")
        }
        explanation.removals = zip(Placement.Filter.allCases, names).map { filter, names in
            .init(filter: filter, hosts: names.count, names: Array(names.sorted().prefix(limit)))
        }
        var candidates: [Placement.Explanation.Candidate] = []
        for (slot, host) in hosts.enumerated() {
            guard let host else { continue }
            explanation.hosts += 1
            guard !isRemoved[slot] else { continue }
            let holdsImage = request.image.map { isHeld($0, slot) } ?? false
            candidates.append(
                .init(name: host.name, weight: Placement.weight(of: host, for: request, holdsImage: holdsImage)))
        }
        explanation.candidates = candidates.count
        candidates.sort { ($1.weight.sum, $0.name) < ($0.weight.sum, $1.name) }
        explanation.ranking = Array(candidates.prefix(limit))
        return explanation
    }
}
