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
            if let failed = Placement.Filter.allCases.firstIndex(where: { !$0.accepts(host, request) }) {
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

    /// Spread first: the share of the scarcest resource that stays free; an image that is held counts as a quarter of a host.
    private func weight(of host: HostSnapshot, for request: PlacementRequest) -> Double {
        func free(_ claimed: Int, _ total: Int) -> Double { total > 0 ? 1 - Double(claimed) / Double(total) : 0 }
        let spread = min(
            free(host.claimedVCPUs + request.vcpus, host.vcpus), free(host.claimedRAMMiB + request.ramMiB, host.ramMiB))
        return spread + (request.image != nil && holders.contains(host.node) ? 0.25 : 0)
    }
}
