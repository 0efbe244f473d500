/// Decides for each device of a host whether a guest may have it. Pure.
///
/// VFIO gives a group to a guest only when each member is bound to VFIO, to no driver, or to one of a few that do no memory
/// accesses for the host, as bridges' do. On top of that Roost gives away only what the host does without: what lies on the
/// same card as a device of interest, what is itself of interest, and what the operator has taken from the host's drivers.
public struct DeviceOffers: Sendable {
    /// Drivers that VFIO accepts in a group that is a guest's.
    static let harmlessDrivers: Set<String> = ["vfio-pci", "pci-stub", "pcieport", "xen-pciback"]

    private let host: HostDevices
    private let policy: DevicePolicy
    private let groups: [Int: [PCIDevice]]
    private let buses: [Substring: [PCIDevice]]
    private let byAddress: [String: PCIDevice]

    public init(_ host: HostDevices, policy: DevicePolicy) {
        self.host = host
        self.policy = policy
        groups = Dictionary(grouping: host.devices.filter { $0.iommuGroup != nil }) { $0.iommuGroup ?? -1 }
        buses = Dictionary(grouping: host.devices, by: \.bus)
        byAddress = Dictionary(host.devices.map { ($0.address, $0) }) { first, _ in first }
    }

    /// One for each device, in order of address.
    public var all: [DeviceOffer] { host.devices.map(offer) }

    private func offer(_ device: PCIDevice) -> DeviceOffer {
        let others = device.iommuGroup.flatMap { groups[$0] }?.filter { $0.address != device.address } ?? []
        let members = others.filter { !$0.isBusBridge }
        let fates = device.isBridge ? [] : members.map { ($0, fate(of: $0, with: device)) }
        let reset = resetWay(device)
        return DeviceOffer(
            device: device, isOfInterest: policy.isOfInterest(device), groupMembers: members.map(\.address),
            companions: fates.filter { $0.1 == .goes }.map(\.0.address), reset: reset,
            reasons: reasons(device, fates, reset))
    }

    private func reasons(
        _ device: PCIDevice, _ fates: [(PCIDevice, Fate)], _ reset: ResetWay
    ) -> [UnusableReason] {
        if device.isBridge { return [.bridge] }
        var reasons: [UnusableReason] = []
        if !policy.isOfInterest(device) { reasons.append(.otherClass(device.classCode)) }
        if policy.excluded.contains(device.address) { reasons.append(.excluded) }
        if device.isBootDisplay, !policy.forcesBootDisplay { reasons.append(.bootDisplay) }
        if let group = device.iommuGroup {
            let blockers = fates.compactMap { member, fate -> GroupBlocker? in
                guard case .blocks(let cause) = fate else { return nil }
                return GroupBlocker(address: member.address, id: member.id, cause: cause)
            }
            if !blockers.isEmpty { reasons.append(.groupShared(group: group, with: blockers)) }
        } else {
            reasons.append(host.iommu.isOn ? .noGroup : .iommuOff(host.iommu))
        }
        if let uses = host.uses[device.address], !uses.isEmpty { reasons.append(.used(uses)) }
        if !device.virtualFunctions.isEmpty { reasons.append(.hasVirtualFunctions(device.virtualFunctions.count)) }
        if device.mediatedDevices > 0 { reasons.append(.hasMediatedDevices(device.mediatedDevices)) }
        if let parent = device.physicalFunction, byAddress[parent]?.driver == "vfio-pci" {
            reasons.append(.parentGiven(parent))
        }
        // Without groups nothing is known of what would go with it, and there is something to do first.
        if reset == .none, device.iommuGroup != nil { reasons.append(.noReset(besides: strangers(onBusOf: device))) }
        return reasons
    }

    // MARK: Groups

    /// What becomes of a member of a group when a guest gets another.
    private enum Fate: Equatable {
        case stays, goes
        case blocks(GroupBlocker.Cause)
    }

    private func fate(of member: PCIDevice, with device: PCIDevice) -> Fate {
        if policy.excluded.contains(member.address) { return .blocks(.excluded) }
        if member.isBridge {
            guard let driver = member.driver, !Self.harmlessDrivers.contains(driver) else { return .stays }
            return .blocks(.driver(driver))
        }
        if let uses = host.uses[member.address], !uses.isEmpty { return .blocks(.used(uses)) }
        if member.isBootDisplay, !policy.forcesBootDisplay { return .blocks(.bootDisplay) }
        if !member.virtualFunctions.isEmpty || member.mediatedDevices > 0 { return .blocks(.hasParts) }
        if let driver = member.driver, !Self.harmlessDrivers.contains(driver), member.slot != device.slot,
            !policy.isOfInterest(member)
        {
            return .blocks(.driver(driver))
        }
        return resetWay(member) == .none ? .blocks(.noReset) : .goes
    }

    // MARK: Reset

    private func resetWay(_ device: PCIDevice) -> ResetWay {
        if device.canReset { return .function }
        guard device.iommuGroup != nil, !device.bridges.isEmpty, strangers(onBusOf: device).isEmpty else {
            return .none
        }
        return .bus
    }

    /// What a reset of its bus would hit besides its group.
    private func strangers(onBusOf device: PCIDevice) -> [String] {
        guard !device.bridges.isEmpty else { return [] }
        return (buses[device.bus] ?? []).filter { $0.iommuGroup != device.iommuGroup }.map(\.address)
    }
}
