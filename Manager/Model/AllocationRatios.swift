/// How much more of a host may be claimed than it has.
public struct AllocationRatios: Sendable, Equatable {
    public var cpu = 4.0
    public var ram = 1.0
    public var disk = 1.0

    /// Where nobody says anything.
    public init() {}

    /// The node's own setting goes first; then the least that one of its aggregates says.
    public init(of node: Node, in aggregates: some Sequence<AggregateRules>) {
        self.init()
        var least: (cpu: Double?, ram: Double?, disk: Double?)
        for rules in aggregates {
            least.cpu = [least.cpu, rules.cpuRatio].compactMap { $0 }.min()
            least.ram = [least.ram, rules.ramRatio].compactMap { $0 }.min()
            least.disk = [least.disk, rules.diskRatio].compactMap { $0 }.min()
        }
        cpu = node.cpuAllocationRatio ?? least.cpu ?? cpu
        ram = node.ramAllocationRatio ?? least.ram ?? ram
        disk = node.diskAllocationRatio ?? least.disk ?? disk
    }
}
