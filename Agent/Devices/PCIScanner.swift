import Foundation

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
}

/// Reads every PCI device below a sysfs root, which tests point at fixtures. What cannot be read is left out: a scan never
/// fails because of one odd device.
public struct PCIScanner: Sendable {
    public enum Failure: Error, Sendable, Equatable, CustomStringConvertible {
        case noBus(String)

        public var description: String {
            switch self {
            case .noBus(let path): "there is no PCI bus at \(path)"
            }
        }
    }

    /// More devices than any machine has; a fixture or a broken kernel must not fill memory (P10).
    static let maximumDevices = 8192
    private static let maximumFileBytes = 64

    private let folder: String

    public init(sysfsRoot: String = "/sys") {
        folder = sysfsRoot + "/bus/pci/devices"
    }

    /// All devices in order of address.
    public func scan() throws(Failure) -> [PCIDevice] {
        guard let names = try? FileManager.default.contentsOfDirectory(atPath: folder) else { throw .noBus(folder) }
        return names.sorted().prefix(Self.maximumDevices).compactMap(device)
    }

    private func device(_ name: String) -> PCIDevice? {
        guard Self.isAddress(name), let vendor = number(name, "vendor"), let product = number(name, "device"),
            let classCode = number(name, "class"), vendor <= 0xFFFF, product <= 0xFFFF
        else { return nil }
        let node = text(name, "numa_node").flatMap { Int($0) }
        return PCIDevice(
            address: name, vendor: vendor, product: product, subsystemVendor: number(name, "subsystem_vendor") ?? 0,
            subsystemProduct: number(name, "subsystem_device") ?? 0, classCode: classCode & 0xFF_FFFF,
            iommuGroup: linkTarget(name, "iommu_group").flatMap { Int($0) }.flatMap { $0 < 0 ? nil : $0 },
            numaNode: node.flatMap { $0 < 0 ? nil : $0 },
            driver: linkTarget(name, "driver"))
    }

    /// `dddd:bb:dd.f` in lower-case hexadecimal digits; domains behind a volume management device have five or more.
    static func isAddress(_ name: String) -> Bool {
        let bytes = Array(name.utf8)
        guard (12...16).contains(bytes.count) else { return false }
        let marks = [
            bytes.count - 8: UInt8(ascii: ":"), bytes.count - 5: UInt8(ascii: ":"), bytes.count - 2: UInt8(ascii: "."),
        ]
        return bytes.enumerated().allSatisfy { index, byte in
            if let mark = marks[index] { return byte == mark }
            return (48...57).contains(byte) || (97...102).contains(byte)
        }
    }

    private func number(_ device: String, _ file: String) -> UInt32? {
        guard let text = text(device, file), text.hasPrefix("0x"), text.dropFirst(2).first?.isHexDigit == true else {
            return nil
        }
        return UInt32(text.dropFirst(2), radix: 16)
    }

    private func text(_ device: String, _ file: String) -> String? {
        // Non-blocking: what should be a small file may be a pipe in a hostile tree.
        let descriptor = open("\(folder)/\(device)/\(file)", O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: Self.maximumFileBytes)
        let count = read(descriptor, &bytes, bytes.count)
        guard count > 0 else { return nil }
        return String(decoding: bytes.prefix(count), as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// The last part of a link's target; the target itself is not followed.
    private func linkTarget(_ device: String, _ link: String) -> String? {
        guard let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\(device)/\(link)"),
            let name = target.split(separator: "/").last, name.utf8.count <= 64
        else { return nil }
        return String(name)
    }
}
