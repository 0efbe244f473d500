/// What people call a device, as far as a database of names knows it.
public struct DeviceNames: Sendable, Equatable {
    public var vendor: String?
    public var product: String?
    /// The card that it sits on.
    public var subsystem: String?
    public var deviceClass: String?

    /// Vendor and product; empty where neither is known.
    public var text: String { [vendor, product].compactMap { $0 }.joined(separator: " ") }
}

/// Looks names up in a text such as `/usr/share/misc/pci.ids`, in one pass that keeps only what was asked for.
struct PCINames: Sendable, Equatable {
    /// What a name is asked for by.
    struct Identity: Sendable, Hashable {
        var vendor: UInt32
        var product: UInt32
        var subsystemVendor: UInt32
        var subsystemProduct: UInt32
        var classCode: UInt32

        init(_ device: PCIDevice) {
            vendor = device.vendor
            product = device.product
            subsystemVendor = device.subsystemVendor
            subsystemProduct = device.subsystemProduct
            classCode = device.classCode
        }
    }

    static let maximumNameBytes = 160

    private var found: [Key: String] = [:]

    private enum Key: Hashable {
        case vendor(UInt32)
        case product(UInt32, UInt32)
        case subsystem(UInt32, UInt32, UInt32, UInt32)
        /// With the digits that are not given as zero, and how many are given.
        case deviceClass(UInt32, digits: Int)
    }

    init() {}

    /// - Parameter text: lines of the database; what is not understood is passed over.
    init(_ text: [UInt8], wanted: Set<Identity>) {
        let keys = Self.keys(wanted)
        var vendor: UInt32?
        var product: UInt32?
        var baseClass: UInt32?
        for line in Lines(text) {
            guard let first = line.first, first != UInt8(ascii: "#") else { continue }
            let depth = line.prefix(2).prefix { $0 == UInt8(ascii: "\t") }.count
            let rest = line.dropFirst(depth)
            var key: Key?
            switch (depth, baseClass) {
            case (0, _):
                (vendor, product, baseClass) = (nil, nil, nil)
                if first == UInt8(ascii: "C"), line.dropFirst().first == UInt8(ascii: " ") {
                    baseClass = Self.number(line.dropFirst(2), digits: 2)
                    key = baseClass.map { .deviceClass($0 << 16, digits: 2) }
                } else {
                    vendor = Self.number(line, digits: 4)
                    key = vendor.map { .vendor($0) }
                }
            case (1, let base?):
                key = Self.number(rest, digits: 2).map { .deviceClass(base << 16 | $0 << 8, digits: 4) }
            case (1, nil):
                guard let vendor else { continue }
                product = Self.number(rest, digits: 4)
                key = product.map { .product(vendor, $0) }
            case (_, .some):
                continue  // programming interfaces, whose names say too little
            case (_, nil):
                guard let vendor, let product, let subvendor = Self.number(rest, digits: 4),
                    let subproduct = Self.number(rest.dropFirst(5), digits: 4)
                else { continue }
                key = .subsystem(vendor, product, subvendor, subproduct)
            }
            if let key, keys.contains(key) { found[key] = Self.name(rest, of: key) }
        }
    }

    func names(of identity: Identity) -> DeviceNames {
        DeviceNames(
            vendor: found[.vendor(identity.vendor)],
            product: found[.product(identity.vendor, identity.product)],
            subsystem: found[
                .subsystem(
                    identity.vendor, identity.product, identity.subsystemVendor, identity.subsystemProduct)]
                ?? found[.vendor(identity.subsystemVendor)],
            deviceClass: Self.classKeys(identity.classCode).lazy.compactMap { found[$0] }.first)
    }

    private static func keys(_ wanted: Set<Identity>) -> Set<Key> {
        var keys: Set<Key> = []
        for identity in wanted {
            keys.insert(.vendor(identity.vendor))
            keys.insert(.vendor(identity.subsystemVendor))
            keys.insert(.product(identity.vendor, identity.product))
            keys.insert(
                .subsystem(identity.vendor, identity.product, identity.subsystemVendor, identity.subsystemProduct))
            keys.formUnion(classKeys(identity.classCode))
        }
        return keys
    }

    /// The most exact first.
    private static func classKeys(_ code: UInt32) -> [Key] {
        [.deviceClass(code & 0xFFFF00, digits: 4), .deviceClass(code & 0xFF0000, digits: 2)]
    }

    /// The hexadecimal number that a line begins with, of exactly so many digits, with a space or the end behind it.
    private static func number(_ bytes: ArraySlice<UInt8>, digits: Int) -> UInt32? {
        var number: UInt32 = 0
        var count = 0
        for byte in bytes.prefix(digits + 1) {
            guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                return byte == UInt8(ascii: " ") && count == digits ? number : nil
            }
            number = number << 4 | UInt32(digit)
            count += 1
        }
        return count == digits ? number : nil
    }

    /// What stands behind the identifiers; never more than one line of a table can bear.
    private static func name(_ rest: ArraySlice<UInt8>, of key: Key) -> String {
        let identifiers =
            switch key {
            case .vendor, .product: 4
            case .subsystem: 9
            case .deviceClass(_, let digits): digits == 2 ? 4 : 2
            }
        let text = String(
            decoding: rest.dropFirst(identifiers).drop { $0 == UInt8(ascii: " ") }.prefix(maximumNameBytes),
            as: UTF8.self)
        return String(text.unicodeScalars.filter { $0.value >= 0x20 && $0.value != 0x7F }.map(Character.init))
            .trimmingSpaces()
    }
}

/// The lines of a text, without copying it.
private struct Lines: Sequence, IteratorProtocol {
    private let text: [UInt8]
    private var position = 0

    init(_ text: [UInt8]) { self.text = text }

    mutating func next() -> ArraySlice<UInt8>? {
        guard position < text.count else { return nil }
        let rest = text[position...]
        let end = rest.firstIndex(of: UInt8(ascii: "\n")) ?? text.count
        defer { position = end + 1 }
        return text[position..<end]
    }
}
