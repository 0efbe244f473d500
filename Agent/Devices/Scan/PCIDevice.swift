/// A PCI device as sysfs shows it (AGT-03).
public struct PCIDevice: Sendable, Hashable {
    /// Domain, bus, device and function, such as `0000:03:00.0`.
    public var address: String
    public var vendor: UInt32
    public var product: UInt32
    public var subsystemVendor: UInt32
    public var subsystemProduct: UInt32
    /// 24 bits: class, subclass, programming interface.
    public var classCode: UInt32
    /// `nil`: the kernel shows none, for instance because the IOMMU is off.
    public var iommuGroup: Int?
    /// `nil`: the host has one node, or does not say.
    public var numaNode: Int?
    /// `nil`: no driver is bound.
    public var driver: String?
    /// The firmware shows its messages on it, and the kernel its console.
    public var isBootDisplay = false
    /// Virtual functions that it can have (SR-IOV); 0: none.
    public var virtualFunctionsTotal = 0
    /// Addresses of those that it has.
    public var virtualFunctions: [String] = []
    /// The device that this one is a virtual function of.
    public var physicalFunction: String?
    /// What a driver offers to cut the device into.
    public var mediatedTypes: [MediatedType] = []
    /// How many mediated devices it has been cut into.
    public var mediatedDevices = 0
    /// The kernel can reset it alone.
    public var canReset = false
    /// How, best first (`flr`, `bus`, …); empty where the kernel does not say (before Linux 5.15).
    public var resetMethods: [String] = []
    /// `D0`, `D3hot`, `D3cold`, …; `nil`: the kernel does not say (before Linux 5.11).
    public var powerState: String?
    /// Bridges between the root of the bus and the device, from the root down.
    public var bridges: [String] = []

    /// A kind of mediated device that a driver can make of a device, such as a vGPU profile.
    public struct MediatedType: Sendable, Hashable {
        /// The driver's name for it, such as `nvidia-35`.
        public var id: String
        /// For people, such as `GRID V100D-8Q`; empty where the driver has none.
        public var name: String
        /// How many more can be made now.
        public var available: Int
    }

    /// Vendor and product as `lspci -n` writes them: `10de:2684`.
    public var id: String { "\(hexadecimal(vendor, digits: 4)):\(hexadecimal(product, digits: 4))" }

    /// Vendor and product of the card that it sits on; zeros where it does not say.
    public var subsystemID: String {
        "\(hexadecimal(subsystemVendor, digits: 4)):\(hexadecimal(subsystemProduct, digits: 4))"
    }

    /// Six hexadecimal digits, such as `030000`.
    public var classText: String { hexadecimal(classCode, digits: 6) }

    /// What the functions of one card share: all of the address but the function.
    var slot: Substring { address.prefix { $0 != "." } }

    /// Domain and bus.
    var bus: Substring { address.dropLast(5) }

    var baseClass: UInt32 { classCode >> 16 }
    var subclass: UInt32 { classCode >> 8 & 0xFF }

    /// Bridges of the host itself. "Other bridge" (0680) is what switches between GPUs call themselves, and is a device
    /// like any other.
    var isBridge: Bool { baseClass == 0x06 && subclass != 0x80 }
    /// A bridge between PCI buses, which VFIO lets stay in a group whatever drives it.
    var isBusBridge: Bool { baseClass == 0x06 && (subclass == 0x04 || subclass == 0x09) }
}

/// A number in lower-case hexadecimal digits with zeros before it.
func hexadecimal(_ number: UInt32, digits: Int) -> String {
    let text = String(number, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.count)) + text
}
