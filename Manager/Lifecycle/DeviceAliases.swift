import ManagerModel
import ManagerPlacement
import ProtocolModel

/// The site's names for devices as placement counts them: numbers below 64, in the names' order.
struct DeviceAliases: Equatable {
    private let numbers: [String: Int]

    init(_ rules: [DeviceRule]) {
        let names = DeviceRules(rules).aliasNames.sorted().prefix(UInt64.bitWidth)
        numbers = Dictionary(uniqueKeysWithValues: names.enumerated().map { ($0.element, $0.offset) })
    }

    /// - Returns: `nil` where a name is none of the site's.
    func requests(_ wanted: [FlavorRequirements.Devices]) -> [DeviceRequest]? {
        let known = wanted.compactMap { wish in
            numbers[wish.alias].map { DeviceRequest(alias: $0, count: wish.count) }
        }
        return known.count == wanted.count ? known : nil
    }

    /// Of a node's devices those that are there, in the order they have. Those of an IOMMU group go together.
    ///
    /// - Parameter instance: what its host still makes ready after it, it may have again: its start waits for that.
    func snapshots(of devices: [Device], for instance: InstanceID? = nil) -> [DeviceSnapshot] {
        devices.filter(\.isPresent).enumerated().map { index, device in
            DeviceSnapshot(
                address: device.facts.address, numaNode: device.facts.numaNode,
                // What is in no group is a group of its own.
                group: device.facts.iommuGroup.map { Int32(clamping: $0) } ?? Int32(clamping: -1 - index),
                aliases: device.aliases.reduce(0) { bits, name in
                    numbers[name].map { bits | 1 << UInt64($0) } ?? bits
                }, isFree: device.isGivable(to: instance))
        }
    }
}
