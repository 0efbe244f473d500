import ManagerModel
import ManagerPlacement
import ProtocolModel

/// The site's names for devices as placement counts them: numbers below 64, in the names' order. And which devices its rules
/// join in sets.
struct DeviceAliases: Equatable {
    private let numbers: [String: Int]
    private let sets: [DeviceRuleID: [[String]]]

    init(_ rules: [DeviceRule]) {
        let names = DeviceRules(rules).aliasNames.sorted().prefix(UInt64.bitWidth)
        numbers = Dictionary(uniqueKeysWithValues: names.enumerated().map { ($0.element, $0.offset) })
        sets = Dictionary(
            uniqueKeysWithValues: rules.filter { $0.action == .partition }.map { ($0.id, $0.sets) })
    }

    /// - Returns: `nil` where a name is none of the site's.
    func requests(_ wanted: [FlavorRequirements.Devices]) -> [DeviceRequest]? {
        let known = wanted.compactMap { wish in
            numbers[wish.alias].map { DeviceRequest(alias: $0, count: wish.count) }
        }
        return known.count == wanted.count ? known : nil
    }

    /// A node's devices, in the order they have. Those of an IOMMU group go together.
    func snapshots(of places: some Collection<DevicePlace>) -> [DeviceSnapshot] {
        let sets = setNumbers(of: places)
        return places.enumerated().map { index, place in
            DeviceSnapshot(
                address: place.address, numaNode: place.numaNode,
                // What is in no group is a group of its own.
                group: place.iommuGroup.map { Int32(clamping: $0) } ?? Int32(clamping: -1 - index),
                aliases: place.aliases.reduce(0) { bits, name in
                    numbers[name].map { bits | 1 << UInt64($0) } ?? bits
                }, isFree: place.isGivable, isPartitioned: !place.partitions.isEmpty,
                sets: sets[place.address] ?? [])
        }
    }

    /// Of each address of a node, in which sets it is. A set counts where its rule is about all of it, and all of it is there.
    private func setNumbers(of places: some Collection<DevicePlace>) -> [String: [Int32]] {
        var members: [DeviceRuleID: Set<String>] = [:]
        for place in places {
            for rule in place.partitions { members[rule, default: []].insert(place.address) }
        }
        guard !members.isEmpty else { return [:] }
        var numbers: [String: [Int32]] = [:]
        var next: Int32 = 0
        for (rule, addresses) in members.sorted(by: { $0.key < $1.key }) {
            for set in sets[rule] ?? [] where set.allSatisfy(addresses.contains) {
                for address in set { numbers[address, default: []].append(next) }
                next += 1
            }
        }
        return numbers
    }
}
