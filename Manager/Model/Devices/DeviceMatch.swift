/// What a rule says of PCI devices. A device fits where all that is named holds (GPU-01, GPU-02, GPU-11). In patterns `*`
/// stands for any text, and case does not count.
public struct DeviceMatch: Sendable, Hashable, Codable {
    /// As the PCI-SIG numbers vendors, such as `0x10de`.
    public var vendor: Int?
    public var product: Int?
    public var subsystemVendor: Int?
    public var subsystemProduct: Int?
    /// The first 2, 4 or 6 digits of the class code, as `lspci -n` prints them: `03`, `0302`, `030200`.
    public var classPrefix: String?
    /// A pattern for `dddd:bb:dd.f`, such as `0000:3b:*`.
    public var address: String?
    /// A pattern for vendor's and product's name together.
    public var name: String?
    /// A pattern for the name of the node that the device is in.
    public var node: String?

    public init() {}

    /// A rule that names nothing would be about every device.
    public var isEmpty: Bool { self == DeviceMatch() }

    /// Whether what is said of addresses and nodes holds: a device that does not fit this does not fit at all.
    public func fits(address: String, on node: String) -> Bool {
        Self.holds(self.address, address) && Self.holds(self.node, node)
    }

    public func fits(_ device: PCIDevice, on node: String) -> Bool {
        Self.holds(vendor, device.vendor) && Self.holds(product, device.product)
            && Self.holds(subsystemVendor, device.subsystemVendor)
            && Self.holds(subsystemProduct, device.subsystemProduct)
            && (classPrefix.map { PCIDevice.digits(device.classCode, 6).hasPrefix($0) } ?? true)
            && Self.holds(name, device.name) && fits(address: device.address, on: node)
    }

    private static func holds(_ wanted: Int?, _ actual: Int?) -> Bool { wanted == nil || wanted == actual }

    private static func holds(_ pattern: String?, _ actual: String) -> Bool {
        pattern.map { Wildcard($0.lowercased()).matches(actual.lowercased()) } ?? true
    }
}
