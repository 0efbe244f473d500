/// Which devices an operator lets guests have.
public struct DevicePolicy: Sendable, Equatable {
    /// Classes of interest; devices of other classes stay with the host.
    public var classes: [DeviceClass]
    /// Offer the boot display, too: the host's console is gone while a guest has it.
    public var forcesBootDisplay: Bool
    /// Addresses of devices that stay with the host.
    public var excluded: Set<String>

    public init(
        classes: [DeviceClass] = DeviceClass.usual, forcesBootDisplay: Bool = false, excluded: Set<String> = []
    ) {
        self.classes = classes
        self.forcesBootDisplay = forcesBootDisplay
        self.excluded = excluded
    }

    func isOfInterest(_ device: PCIDevice) -> Bool { classes.contains { $0.contains(device.classCode) } }
}

/// A PCI class, a subclass of it, or a programming interface of that: `03`, `0302`, `010802`.
public struct DeviceClass: Sendable, Hashable, CustomStringConvertible {
    /// Display controllers and processing accelerators.
    public static let usual = ["03", "12"].compactMap(DeviceClass.init)

    public let description: String
    private let value: UInt32
    private let unusedBits: UInt32

    /// `nil` unless the text is two, four or six hexadecimal digits.
    public init?(_ text: String) {
        guard [2, 4, 6].contains(text.utf8.count), text.utf8.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
            let value = UInt32(text, radix: 16)
        else { return nil }
        description = text.lowercased()
        self.value = value
        unusedBits = UInt32(24 - text.utf8.count * 4)
    }

    func contains(_ code: UInt32) -> Bool { code >> unusedBits == value }
}

/// Reads an address as people write it: in any case, and without the domain where that is 0000.
public func deviceAddress(_ text: String) -> String? {
    let lower = text.lowercased()
    let full = lower.utf8.count == 7 ? "0000:" + lower : lower
    return PCIScanner.isAddress(full) ? full : nil
}
