/// A host's devices by how they can go to a guest: in whole groups, and of those that an NVSwitch joins in whole sets.
struct DeviceBoard {
    /// A set all of which is free. Numbers are positions among the host's devices.
    struct FreeSet: Equatable {
        var members: [Int]
        /// Of the members' groups, what is in no set.
        var companions: [Int]

        var positions: [Int] { members + companions }
    }

    /// Groups that are free and have nothing to do with sets, with an alias in each, in the order of the devices.
    private(set) var loose: [[Int]] = []
    /// In order of their members.
    private(set) var sets: [FreeSet] = []

    init(_ devices: [DeviceSnapshot]) {
        var groups: [Int32: [Int]] = [:]
        for (index, device) in devices.enumerated() { groups[device.group, default: []].append(index) }
        loose = groups.values.filter { group in
            group.allSatisfy { devices[$0].isFree && !devices[$0].isPartitioned }
                && group.contains { devices[$0].aliases != 0 }
        }.sorted { $0[0] < $1[0] }
        var members: [Int32: [Int]] = [:]
        for (index, device) in devices.enumerated() where device.isPartitioned {
            for set in device.sets { members[set, default: []].append(index) }
        }
        sets = members.values.compactMap { Self.freeSet($0, groups, devices) }
            .sorted { $0.members.lexicographicallyPrecedes($1.members) }
    }

    /// - Returns: `nil` where a part of it is not free, or where a group would take along what belongs to another set.
    private static func freeSet(
        _ members: [Int], _ groups: [Int32: [Int]], _ devices: [DeviceSnapshot]
    ) -> FreeSet? {
        var companions: [Int] = []
        for group in Set(members.map { devices[$0].group }) {
            for index in groups[group] ?? [] {
                guard devices[index].isFree else { return nil }
                guard !members.contains(index) else { continue }
                guard !devices[index].isPartitioned else { return nil }
                companions.append(index)
            }
        }
        return FreeSet(members: members, companions: companions.sorted())
    }

    /// How many sets of each size stay whole when one is taken, the largest size first: the greater in this order, the more
    /// is left for those who want many.
    func survivors(without taken: FreeSet?) -> [Int] {
        let lost = Set(taken?.positions ?? [])
        var counts = [Int](repeating: 0, count: (sets.map(\.members.count).max() ?? 0) + 1)
        for set in sets where lost.isDisjoint(with: set.positions) { counts[set.members.count] += 1 }
        return counts.reversed()
    }
}
