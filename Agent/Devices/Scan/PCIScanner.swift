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
    /// As many functions as one device can have on its bus and the next ones; cards have up to 256.
    private static let maximumVirtualFunctions = 1024
    private static let maximumMediatedTypes = 64

    private static let folder = "bus/pci/devices"
    private let files: SmallFiles

    public init(sysfsRoot: String = "/sys") {
        files = SmallFiles(root: sysfsRoot)
    }

    /// All devices in order of address.
    public func scan() throws(Failure) -> [PCIDevice] {
        guard let names = files.names(Self.folder, limit: Self.maximumDevices) else {
            throw .noBus("\(files.root)/\(Self.folder)")
        }
        return names.compactMap(device)
    }

    /// `nil` where there is no such device, or what its files say is none.
    func device(_ name: String) -> PCIDevice? {
        let path = "\(Self.folder)/\(name)"
        guard Self.isAddress(name), let vendor = files.hexadecimalNumber(path + "/vendor"),
            let product = files.hexadecimalNumber(path + "/device"),
            let classCode = files.hexadecimalNumber(path + "/class"), vendor <= 0xFFFF, product <= 0xFFFF
        else { return nil }
        var device = PCIDevice(
            address: name, vendor: vendor, product: product,
            subsystemVendor: files.hexadecimalNumber(path + "/subsystem_vendor") ?? 0,
            subsystemProduct: files.hexadecimalNumber(path + "/subsystem_device") ?? 0,
            classCode: classCode & 0xFF_FFFF,
            iommuGroup: files.linkName(path + "/iommu_group").flatMap { Int($0) }.flatMap { $0 < 0 ? nil : $0 },
            numaNode: files.number(path + "/numa_node").flatMap { $0 < 0 ? nil : $0 },
            driver: files.linkName(path + "/driver"))
        device.isBootDisplay = ["boot_vga", "boot_display"].contains { files.line("\(path)/\($0)") == "1" }
        device.canReset = files.exists(path + "/reset")
        device.resetMethods = words(path + "/reset_method")
        device.powerState = files.line(path + "/power_state").flatMap { $0 == "unknown" || $0.isEmpty ? nil : $0 }
        device.bridges = bridges(name)
        readParts(of: &device, path)
        return device
    }

    /// What the device can be cut into: virtual functions and mediated devices.
    private func readParts(of device: inout PCIDevice, _ path: String) {
        device.physicalFunction = address(path + "/physfn")
        if let total = files.number(path + "/sriov_totalvfs"), total > 0 {
            device.virtualFunctionsTotal = min(total, Self.maximumVirtualFunctions)
            let count = files.number(path + "/sriov_numvfs") ?? 0
            let made = max(0, min(count, device.virtualFunctionsTotal))
            device.virtualFunctions = (0..<made).compactMap { address("\(path)/virtfn\($0)") }
        }
        let folder = path + "/mdev_supported_types"
        for id in files.names(folder, limit: Self.maximumMediatedTypes) ?? [] {
            let type = "\(folder)/\(id)"
            device.mediatedTypes.append(
                PCIDevice.MediatedType(
                    id: id, name: files.line(type + "/name") ?? "",
                    available: max(0, files.number(type + "/available_instances") ?? 0)))
            device.mediatedDevices += files.names(type + "/devices", limit: Self.maximumVirtualFunctions)?.count ?? 0
        }
    }

    private func words(_ path: String) -> [String] {
        (files.line(path) ?? "").split(separator: " ").prefix(8).map(String.init)
    }

    private func address(_ link: String) -> String? {
        files.linkName(link).flatMap { Self.isAddress($0) ? $0 : nil }
    }

    /// The kernel names a device's folder by all that lies between it and the root: the link on the bus tells them.
    private func bridges(_ name: String) -> [String] {
        let parts = files.linkParts("\(Self.folder)/\(name)") ?? []
        return parts.dropLast().map(String.init).filter(Self.isAddress)
    }

    /// `dddd:bb:dd.f` in lower-case hexadecimal digits; domains behind a volume management device have five or more.
    public static func isAddress(_ name: String) -> Bool {
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
}
