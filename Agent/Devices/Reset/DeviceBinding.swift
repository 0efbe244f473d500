import Glibc

/// Takes devices from the host's drivers for VFIO, and gives them back, by what the kernel offers for it
/// (`Documentation/ABI/testing/sysfs-bus-pci`, `driver_override`). Blocks: a driver that is busy with a device holds its unbinding
/// up, some for ever.
public struct DeviceBinding: Sendable {
    public static let driver = "vfio-pci"

    private static let folder = "bus/pci/devices"
    private static let probe = "bus/pci/drivers_probe"

    private let files: SmallFiles
    private let scanner: PCIScanner

    public init(sysfsRoot: String = "/sys") { self.init(files: SmallFiles(root: sysfsRoot)) }

    init(files: SmallFiles) {
        self.files = files
        scanner = PCIScanner(sysfsRoot: files.root)
    }

    /// The kernel has VFIO's driver.
    public var isReady: Bool { files.exists("bus/pci/drivers/\(Self.driver)") }

    /// Repeating it is harmless.
    ///
    /// - Parameter abandonment: looked at before each step; what was not begun is not done.
    public func bind(_ address: String, _ abandonment: Abandonment = Abandonment()) throws(DeviceProblem) {
        let device = try find(address)
        guard device.driver != Self.driver else { return }
        try write(
            Self.driver, to: "\(Self.folder)/\(address)/driver_override", abandonment,
            "\(address) cannot be set aside for VFIO")
        if let driver = device.driver {
            try write(
                address, to: "\(Self.folder)/\(address)/driver/unbind", abandonment,
                "driver \(driver) does not give up \(address)")
        }
        try write(address, to: Self.probe, abandonment, "VFIO does not take \(address)")
        guard try find(address).driver == Self.driver else {
            throw DeviceProblem(
                description: "VFIO did not take \(address); look for its address in the kernel's log (dmesg)")
        }
    }

    /// Back to whatever driver the host has for it; none is fine. Repeating it is harmless.
    public func giveBack(_ address: String, _ abandonment: Abandonment = Abandonment()) throws(DeviceProblem) {
        let device = try find(address)
        // Empty but for the end of the line: the device has no driver of its own choice any more.
        try write(
            "\n", to: "\(Self.folder)/\(address)/driver_override", abandonment,
            "it cannot be given back to the host's driver")
        if device.driver == Self.driver {
            try write(
                address, to: "\(Self.folder)/\(address)/driver/unbind", abandonment, "VFIO does not give it up")
        } else if device.driver != nil {
            return
        }
        try write(address, to: Self.probe, abandonment, "the host's driver does not take it back")
    }

    private func find(_ address: String) throws(DeviceProblem) -> PCIDevice {
        guard let device = scanner.device(address) else {
            throw DeviceProblem(description: "\(address) is gone from the bus")
        }
        return device
    }

    private func write(
        _ text: String, to path: String, _ abandonment: Abandonment, _ what: String
    ) throws(DeviceProblem) {
        try abandonment.check()
        if let code = files.write(text, to: path) {
            throw DeviceProblem(description: "\(what): \(String(cString: strerror(code)))")
        }
    }
}
