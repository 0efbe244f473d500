import ManagerModel
import ManagerPlacement
import ManagerStore
import ProtocolModel

/// What is not in a node's row and counts for placement: what its aggregates say, and its devices.
struct HostGroups {
    private struct Group {
        var profile = HostProfile.none
        var rules: [AggregateRules] = []
    }

    /// Of nodes that are in an aggregate. Those in the same ones share one value.
    private var groups: [NodeID: Group] = [:]

    /// The names that devices go by.
    let aliases: DeviceAliases

    init() { aliases = DeviceAliases([]) }

    init(_ sql: Transaction) throws {
        aliases = DeviceAliases(try sql.devices.rules())
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

    /// All hosts.
    func snapshots(in sql: Transaction) throws -> [HostSnapshot] {
        let devices = Dictionary(grouping: try sql.devices.places(), by: \.node)
        return try sql.nodes.list().map { snapshot($0, devices[$0.id] ?? []) }
    }

    func snapshot(_ node: Node, in sql: Transaction) throws -> HostSnapshot {
        snapshot(node, node.inventory.pciDevices.isEmpty ? [] : try sql.devices.places(on: node.id))
    }

    /// - Parameter devices: the node's.
    func snapshot(_ node: Node, _ devices: [DevicePlace]) -> HostSnapshot {
        let group = groups[node.id] ?? Group()
        var host = HostSnapshot(node, profile: group.profile, ratios: AllocationRatios(of: node, in: group.rules))
        host.devices = aliases.snapshots(of: devices)
        return host
    }
}
