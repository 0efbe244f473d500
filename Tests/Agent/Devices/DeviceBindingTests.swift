import Foundation
import Synchronization
import Testing

@testable import AgentDevices

@Suite("taking devices from the host's drivers for VFIO, and giving them back")
struct DeviceBindingTests {
    private static let address = "0000:3b:00.0"

    /// What a kernel does when somebody writes into its tree: drivers let go, and take what they are offered.
    private struct Kernel: Sendable {
        let root: String
        let folder: String
        /// The host's driver for the device.
        var own: String?
        var refusesVFIO = false

        @Sendable
        func written(_ path: String, _ text: String) {
            let link = folder + "/driver"
            if path.hasSuffix("/unbind") { unlink(link) }
            guard path.hasSuffix("drivers_probe"), text == DeviceBindingTests.address,
                !FileManager.default.fileExists(atPath: link)
            else { return }
            let wish = (try? String(contentsOfFile: folder + "/driver_override", encoding: .utf8)) ?? ""
            let driver = wish.hasPrefix("vfio-pci") ? (refusesVFIO ? nil : "vfio-pci") : own
            if let driver { symlink("\(root)/sys/bus/pci/drivers/\(driver)", link) }
        }
    }

    private func withDevice(
        driver: String?, own: String? = "nouveau", refusesVFIO: Bool = false,
        also written: @escaping @Sendable (_ path: String, _ text: String) -> Void = { _, _ in },
        _ body: (_ folder: String, _ binding: DeviceBinding) throws -> Void
    ) throws {
        try withFolder { root in
            var tree = SysfsTree(root: root)
            try tree.folder("sys/bus/pci/devices")
            for driver in ["vfio-pci", "nouveau"] { try tree.file("sys/bus/pci/drivers/\(driver)/unbind", "") }
            try tree.file("sys/bus/pci/drivers_probe", "")
            try tree.device(
                Self.address, "10de:1db6", "030200", driver.map { ["driver": $0] } ?? [:])
            let folder = "\(root)/\(try #require(tree.folders[Self.address]))"
            try Data().write(to: URL(filePath: folder + "/driver_override"))
            var files = SmallFiles(root: root + "/sys")
            let kernel = Kernel(root: root, folder: folder, own: own, refusesVFIO: refusesVFIO)
            files.written = { path, text in
                kernel.written(path, text)
                written(path, text)
            }
            try body(folder, DeviceBinding(files: files))
        }
    }

    private func driver(_ folder: String) -> String? {
        (try? FileManager.default.destinationOfSymbolicLink(atPath: folder + "/driver"))?.split(separator: "/").last
            .map(String.init)
    }

    @Test("a device goes from its driver to VFIO and back, however often", arguments: ["nouveau", nil])
    func roundTrip(_ before: String?) throws {
        try withDevice(driver: before, own: before) { folder, binding in
            #expect(binding.isReady)
            for _ in 0..<2 { try binding.bind(Self.address) }
            #expect(driver(folder) == "vfio-pci")
            for _ in 0..<2 { try binding.giveBack(Self.address) }
            #expect(driver(folder) == before)
        }
    }

    @Test("what is given up while a driver hangs is not gone on with: the next step is nobody's", arguments: [1, 2])
    func abandoned(_ steps: Int) throws {
        let abandonment = Abandonment()
        let written = Mutex<[String]>([])
        try withDevice(
            driver: "nouveau",
            also: { path, _ in
                // Given up while the kernel is at the step.
                let count = written.withLock { paths in
                    paths.append(path)
                    return paths.count
                }
                if count == steps { abandonment.abandon() }
            }
        ) { _, binding in
            #expect(throws: DeviceProblem(description: "it was given up, since it took too long")) {
                try binding.bind(Self.address, abandonment)
            }
            #expect(written.withLock { $0.count } == steps)
            #expect(throws: DeviceProblem.self) { try binding.giveBack(Self.address, abandonment) }
            #expect(written.withLock { $0.count } == steps)
        }
    }

    @Test("what VFIO has already is left alone")
    func already() throws {
        try withDevice(driver: "vfio-pci") { folder, binding in
            try binding.bind(Self.address)
            #expect(try String(contentsOfFile: folder + "/driver_override", encoding: .utf8) == "")
        }
    }

    @Test("a device that VFIO does not take is told, and so is one that is gone")
    func refused() throws {
        try withDevice(driver: "nouveau", refusesVFIO: true) { folder, binding in
            #expect(
                throws: DeviceProblem(
                    description: "VFIO did not take \(Self.address); look for its address in the kernel's log (dmesg)")
            ) { try binding.bind(Self.address) }
            // Half-way is no place to stay: the way back works from there.
            try binding.giveBack(Self.address)
            #expect(driver(folder) == "nouveau")
            #expect(throws: DeviceProblem(description: "0000:99:00.0 is gone from the bus")) {
                try binding.bind("0000:99:00.0")
            }
        }
    }
}
