/// What a host has and what it needs for itself: all that a decision about its devices rests on.
public struct HostDevices: Sendable, Equatable {
    /// In order of address.
    public var devices: [PCIDevice]
    public var iommu: IOMMUFacts
    /// What the host does with a device, by address; devices that it does nothing with are not there.
    public var uses: [String: [HostUse]]
}

/// Why a host needs a device.
public enum HostUse: Sendable, Hashable, CustomStringConvertible {
    case mounted(disk: String, at: String)
    case swap(disk: String)
    /// A volume, an array or an encrypted disk lies on it.
    case holder(disk: String, holder: String)
    /// The host is reached by it.
    case address(interface: String)
    /// A bridge, a bond or another interface lies on it.
    case upper(interface: String, upper: String)

    public var description: String {
        switch self {
        case .mounted(let disk, let path): "its disk \(disk) is mounted at \(path); unmount it"
        case .swap(let disk): "the host swaps to its disk \(disk); run swapoff"
        case .holder(let disk, let holder): "\(holder) lies on its disk \(disk); take that down"
        case .address(let interface): "its interface \(interface) carries an address of the host; remove it"
        case .upper(let interface, let upper): "its interface \(interface) is part of \(upper); take it out"
        }
    }
}

/// What the kernel says of the unit that keeps a device's memory accesses within one guest.
public struct IOMMUFacts: Sendable, Equatable {
    public enum Processor: Sendable, Equatable {
        case intel, amd, other
    }

    /// The kernel has made groups of devices.
    public var isOn: Bool
    public var processor: Processor
    /// The parameters that the kernel was started with.
    public var kernelParameters: [String]
    /// The host is itself a guest.
    public var isVirtualMachine: Bool
}
