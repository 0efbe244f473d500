import ManagerModel
import ManagerPlacement
import ManagerStore
import ProtocolModel

/// What the aggregates of each node say to placement.
struct HostGroups {
    private struct Group {
        var profile = HostProfile.none
        var rules: [AggregateRules] = []
    }

    /// Of nodes that are in an aggregate. Those in the same ones share one value.
    private var groups: [NodeID: Group] = [:]

    init() {}

    init(_ sql: Transaction) throws {
        let aggregates = Dictionary(try sql.aggregates.list().map { ($0.id, $0) }) { first, _ in first }
        guard !aggregates.isEmpty else { return }
        var known: [[AggregateID]: Group] = [:]
        for (node, ids) in try sql.aggregates.memberships() {
            let group: Group
            if let shared = known[ids] {
                group = shared
            } else {
                let members = ids.compactMap { aggregates[$0] }
                group = Group(profile: HostProfile(members), rules: members.map { AggregateRules($0.metadata) })
                known[ids] = group
            }
            groups[node] = group
        }
    }

    func snapshot(_ node: Node) -> HostSnapshot {
        let group = groups[node.id] ?? Group()
        return HostSnapshot(node, profile: group.profile, ratios: AllocationRatios(of: node, in: group.rules))
    }
}
