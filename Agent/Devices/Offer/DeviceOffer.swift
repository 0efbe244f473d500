/// Whether a guest may have a device, and if not, why.
public struct DeviceOffer: Sendable, Equatable {
    public var device: PCIDevice
    /// Of a class that guests may have.
    public var isOfInterest: Bool
    /// Others of its IOMMU group, but bridges between buses.
    public var groupMembers: [String]
    /// Those of them that a guest gets with it, such as the audio function of a GPU.
    public var companions: [String]
    public var reset: ResetWay
    /// Empty: it can be given to a guest.
    public var reasons: [UnusableReason]

    public var isUsable: Bool { reasons.isEmpty }
}

/// How a device is brought back to what it was before a guest had it.
public enum ResetWay: Sendable, Equatable {
    /// Alone, by the kernel.
    case function
    /// With its whole bus, all of which goes to the same guest: VFIO does so when the last of it is given back.
    case bus
    case none
}

/// Why a guest cannot have a device: each says what to do about it.
public enum UnusableReason: Sendable, Equatable, CustomStringConvertible {
    case otherClass(UInt32)
    case excluded
    case bridge
    case iommuOff(IOMMUFacts)
    case noGroup
    case groupShared(group: Int, with: [GroupBlocker])
    case used([HostUse])
    case bootDisplay
    case hasVirtualFunctions(Int)
    case hasMediatedDevices(Int)
    /// The physical function of this virtual one is no longer the host's.
    case parentGiven(String)
    /// Lists devices of its bus that are in other groups, which keep the bus from being reset.
    case noReset(besides: [String])

    public var description: String {
        switch self {
        case .otherClass(let code):
            "class \(hexadecimal(code >> 8, digits: 4)) is not offered; add it to devices.classes"
        case .excluded: "devices.exclude names it"
        case .bridge: "it is a bridge, which stays with the host"
        case .iommuOff(let facts): "the IOMMU is off; \(facts.advice)"
        case .noGroup:
            "the kernel put it into no IOMMU group, so that nothing keeps it out of the host's memory; use a slot behind "
                + "the IOMMU"
        case .groupShared(let group, let blockers):
            "IOMMU group \(group) is shared with what cannot go to a guest: "
                + blockers.map(\.description).joined(separator: ", ")
                + "; free those, or use a slot with a group of its own"
        case .used(let uses): "the host uses it: " + uses.map(\.description).joined(separator: ", ")
        case .bootDisplay:
            "it is the host's boot display; set another one in the firmware, or devices.force_boot_display to true"
        case .hasVirtualFunctions(let count):
            "it has \(count) virtual functions; offer those instead, or write 0 to its sriov_numvfs"
        case .hasMediatedDevices(let count): "it has been cut into \(count) mediated devices; remove those first"
        case .parentGiven(let parent):
            "its physical function \(parent) is bound to vfio-pci; bind that one to its own driver again"
        case .noReset(let others):
            "the kernel knows no way to reset it, so that the next guest would find what the last one left"
                + (others.isEmpty
                    ? "" : "; \(others.joined(separator: ", ")) on its bus would be reset with it, in other groups")
        }
    }
}

/// A member of a group that keeps the whole group with the host.
public struct GroupBlocker: Sendable, Equatable, CustomStringConvertible {
    public enum Cause: Sendable, Equatable {
        case excluded, bootDisplay, noReset
        case driver(String)
        case used([HostUse])
        case hasParts
    }

    public var address: String
    public var id: String
    public var cause: Cause

    public var description: String {
        let why =
            switch cause {
            case .excluded: "devices.exclude names it"
            case .bootDisplay: "the boot display"
            case .noReset: "cannot be reset"
            case .driver(let driver): "driver \(driver)"
            case .used(let uses): "used: " + uses.map(\.description).joined(separator: ", ")
            case .hasParts: "has virtual functions or mediated devices"
            }
        return "\(address) (\(id), \(why))"
    }
}

extension IOMMUFacts {
    /// What to do where it is off.
    var advice: String {
        let off = kernelParameters.first { ["iommu=off", "intel_iommu=off", "amd_iommu=off"].contains($0) }
        if let off { return "remove \(off) from the kernel's parameters and restart the host" }
        if isVirtualMachine {
            return "this host is itself a virtual machine: give it a virtual IOMMU"
                + (processor == .intel ? ", and intel_iommu=on to its kernel" : "")
        }
        switch processor {
        case .intel:
            return kernelParameters.contains { $0.hasPrefix("intel_iommu=on") }
                ? "intel_iommu=on is set, but the kernel finds no VT-d: turn it on in the firmware and restart the host"
                : "turn VT-d on in the firmware, add intel_iommu=on to the kernel's parameters, and restart the host"
        case .amd:
            return "turn the IOMMU (AMD-Vi) on in the firmware and restart the host; its kernel needs no parameter"
        case .other: return "turn it (SMMU, IOMMU) on in the firmware and restart the host"
        }
    }
}
