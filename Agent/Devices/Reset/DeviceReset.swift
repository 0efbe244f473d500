import Glibc

/// Why a device could not be reset, as a person reads it in its quarantine.
public struct DeviceProblem: Error, Sendable, Equatable, CustomStringConvertible {
    public let description: String

    public init(description: String) { self.description = description }
}

/// What a device answers when it is asked who it is.
public struct DeviceReading: Sendable, Equatable {
    /// The first 64 bytes of its configuration space, read from the device; fewer where it cannot be read.
    public var header: [UInt8]
    /// What the kernel remembers of it from when it was found.
    public var device: PCIDevice

    /// Why it is not fit for the next guest; `nil`: it is.
    public var problem: String? {
        guard header.count == 64 else { return "its configuration space cannot be read" }
        // What is gone from the bus, or hangs, reads as ones throughout.
        if header.allSatisfy({ $0 == 0xFF }) { return "it does not answer: its configuration space reads as ff" }
        // A virtual function has no identity of its own to read (PCIe 6.0, §9.3.4.1.1): both numbers are ffff.
        if device.physicalFunction == nil {
            let vendor = UInt32(header[0]) | UInt32(header[1]) << 8
            let product = UInt32(header[2]) | UInt32(header[3]) << 8
            guard vendor == device.vendor, product == device.product else {
                let found = "\(hexadecimal(vendor, digits: 4)):\(hexadecimal(product, digits: 4))"
                return "it answers as \(found) and was \(device.id)"
            }
        }
        if let driver = device.driver, !DeviceOffers.harmlessDrivers.contains(driver) {
            return "driver \(driver) took it before it was verified"
        }
        // Nobody uses it: on, or asleep; D1, D2 and "error" are not where a reset leads. Unknown is what a kernel says of
        // a device without a driver.
        if let state = device.powerState, !["D0", "D3hot", "D3cold"].contains(state) {
            return "it is in power state \(state), and should be in D0 or D3"
        }
        return nil
    }
}

/// Resets devices through the kernel and looks at what came of it. Blocks, for seconds where a device is slow; one that hangs
/// may never return, so that whoever calls keeps a thread for it.
public struct DeviceReset: Sendable {
    private static let folder = "bus/pci/devices"

    private let files: SmallFiles
    private let scanner: PCIScanner

    public init(sysfsRoot: String = "/sys") {
        self.init(files: SmallFiles(root: sysfsRoot))
    }

    init(files: SmallFiles) {
        self.files = files
        scanner = PCIScanner(sysfsRoot: files.root)
    }

    /// Takes the device from a driver of the host that has it, and resets it: alone where the kernel can, and else with
    /// its bus. Where this kernel cannot do that on demand (before Linux 6.13), VFIO has done it when it was given back.
    ///
    /// - Precondition: no guest has it, nor what is on its bus where it cannot be reset alone.
    /// - Parameter abandonment: looked at before each step; what was not begun is not done.
    public func reset(_ address: String, _ abandonment: Abandonment = Abandonment()) throws(DeviceProblem) {
        let device = try find(address)
        let path = "\(Self.folder)/\(address)"
        if let driver = device.driver, !DeviceOffers.harmlessDrivers.contains(driver) {
            try write(
                address, to: path + "/driver/unbind", abandonment, what: "driver \(driver) does not give it up")
        }
        if device.canReset {
            try write("1", to: path + "/reset", abandonment, what: "its reset failed")
        } else if let bridge = device.bridges.last {
            let reset = "\(Self.folder)/\(bridge)/reset_subordinate"
            if files.exists(reset) { try write("1", to: reset, abandonment, what: "the reset of its bus failed") }
        } else {
            throw DeviceProblem(description: "the kernel knows no way to reset it")
        }
    }

    public func read(_ address: String) throws(DeviceProblem) -> DeviceReading {
        let device = try find(address)
        return DeviceReading(header: files.bytes("\(Self.folder)/\(address)/config", limit: 64) ?? [], device: device)
    }

    private func find(_ address: String) throws(DeviceProblem) -> PCIDevice {
        guard let device = scanner.device(address) else {
            throw DeviceProblem(description: "it is gone from the bus")
        }
        return device
    }

    private func write(
        _ text: String, to path: String, _ abandonment: Abandonment, what: String
    ) throws(DeviceProblem) {
        try abandonment.check()
        if let code = files.write(text, to: path) {
            throw DeviceProblem(description: "\(what): \(String(cString: strerror(code)))")
        }
    }
}
