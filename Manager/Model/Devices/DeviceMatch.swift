/// What a rule says of PCI devices. A device fits where all that is named holds (GPU-01, GPU-02, GPU-11).
public struct DeviceMatch: Sendable, Hashable, Codable {
    /// As the PCI-SIG numbers vendors, such as `0x10de`.
    public var vendor: Int?
    public var product: Int?
    public var subsystemVendor: Int?
    public var subsystemProduct: Int?
    /// The first 2, 4 or 6 hexadecimal digits of the class code: `03`, `0302`, `030200`.
    public var classPrefix: String?
    /// A pattern for `dddd:bb:dd.f`, such as `0000:3b:*`.
    public var address: String?
    /// A pattern for vendor's and product's name together, without regard of case.
    public var name: String?
    /// A pattern for the name of the node that the device is in.
    public var node: String?

    public init() {}

    /// A rule that names nothing would be about every device.
    public var isEmpty: Bool { self == DeviceMatch() }

    public func fits(_ device: PCIDevice, on node: String) -> Bool {
        Self.holds(vendor, device.vendor) && Self.holds(product, device.product)
            && Self.holds(subsystemVendor, device.subsystemVendor)
            && Self.holds(subsystemProduct, device.subsystemProduct)
            && classPrefix.map { Self.digits(ofClass: device.classCode).hasPrefix($0) } ?? true
            && Self.holds(address, device.address) && Self.holds(name?.lowercased(), device.name.lowercased())
            && Self.holds(self.node, node)
    }

    private static func holds(_ wanted: Int?, _ actual: Int?) -> Bool { wanted == nil || wanted == actual }

    private static func holds(_ pattern: String?, _ actual: String) -> Bool {
        pattern.map { Wildcard($0).matches(actual) } ?? true
    }

    private static func digits(ofClass code: Int) -> String {
        let text = String(code & 0xFF_FFFF, radix: 16)
        return String(repeating: "0", count: 6 - text.count) + text
    }
}
