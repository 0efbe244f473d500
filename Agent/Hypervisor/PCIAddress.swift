import Foundation
public import ProtocolModel

/// Where a device of the host sits: `0000:3b:00.0`.
public struct PCIAddress: Sendable, Hashable, CustomStringConvertible {
    public let domain: UInt32
    public let bus: UInt8
    public let slot: UInt8
    public let function: UInt8

    /// `nil` unless it is written as sysfs does, in full.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 3, (4...8).contains(parts[0].utf8.count), parts[1].utf8.count == 2,
            parts[2].utf8.count == 4, parts[2].dropFirst(2).first == "."
        else { return nil }
        func number(_ digits: some StringProtocol) -> UInt32? {
            digits.allSatisfy { $0.isHexDigit && $0.isASCII } ? UInt32(digits, radix: 16) : nil
        }
        guard let domain = number(parts[0]), let bus = number(parts[1]), let slot = number(parts[2].prefix(2)),
            let function = number(parts[2].suffix(1)), slot < 32, function < 8
        else { return nil }
        (self.domain, self.bus, self.slot, self.function) = (domain, UInt8(bus), UInt8(slot), UInt8(function))
    }

    /// From the attributes that libvirt writes, such as `0x0000`.
    init?(attributes: [String: String]) {
        func number(_ name: String) -> UInt32? {
            attributes[name].flatMap { UInt32($0.hasPrefix("0x") ? $0.dropFirst(2) : Substring($0), radix: 16) }
        }
        guard let bus = number("bus"), let slot = number("slot"), let function = number("function"), bus < 256,
            slot < 32, function < 8
        else { return nil }
        domain = number("domain") ?? 0
        (self.bus, self.slot, self.function) = (UInt8(bus), UInt8(slot), UInt8(function))
    }

    public var description: String {
        "\(Self.digits(domain, 4)):\(Self.digits(UInt32(bus), 2)):\(Self.digits(UInt32(slot), 2)).\(function)"
    }

    static func digits(_ number: UInt32, _ count: Int) -> String {
        let text = String(number, radix: 16)
        return String(repeating: "0", count: max(0, count - text.count)) + text
    }
}

/// The side of a host with several memories that a guest is put on.
public struct NUMAPlace: Sendable, Hashable {
    public var node: Int
    /// Its processors, as in `0-15,32-47`; `nil`: the guest has more than there are, and runs on all.
    public var processors: String?

    public init(node: Int, processors: String?) {
        self.node = node
        self.processors = processors
    }

    /// - Parameter sysfsRoot: where the kernel says which processors belong to the node.
    public init(node: Int, vcpus: Int, sysfsRoot: String) {
        self.node = node
        let list = Self.line("\(sysfsRoot)/devices/system/node/node\(node)/cpulist")
        processors = list.flatMap { list in Self.count(list).map { $0 >= vcpus ? list : nil } ?? nil }
    }

    private static func line(_ path: String) -> String? {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8), text.utf8.count < 4096 else { return nil }
        return text.split(whereSeparator: \.isWhitespace).first.map(String.init)
    }

    /// How many a list of the kernel's names; `nil` where it is none.
    static func count(_ list: String) -> Int? {
        var count = 0
        for part in list.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
            guard (1...2).contains(ends.count), let first = ends[0], let last = ends.last ?? nil, first >= 0,
                last >= first,
                last < 1 << 20
            else { return nil }
            count += last - first + 1
        }
        return count
    }
}

/// A domain with devices of the host.
public struct DeviceOwner: Sendable, Equatable {
    public enum Owner: Sendable, Equatable {
        case instance(InstanceID, Epoch)
        /// Somebody else's, by name.
        case stranger(String)
    }

    public var owner: Owner
    public var devices: [PCIAddress]

    public init(_ owner: Owner, _ devices: [PCIAddress]) {
        self.owner = owner
        self.devices = devices
    }
}
