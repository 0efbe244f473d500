import AgentDevices
import ArgumentParser

struct DevicesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "devices", abstract: "Lists the PCI devices of this host as the manager is told of them.")

    @OptionGroup var options: SettingsOptions

    func run() throws {
        let settings = try options.read()
        do {
            print("ADDRESS       ID         CLASS   IOMMU  NUMA  DRIVER")
            for device in try PCIScanner(sysfsRoot: settings.sysfs).scan() { print(Self.line(device)) }
        } catch {
            throw CommandFailure(error)
        }
    }

    static func line(_ device: PCIDevice) -> String {
        let columns: [(String, Int)] = [
            (device.address, 12), (hexadecimal(device.vendor, 4) + ":" + hexadecimal(device.product, 4), 9),
            (hexadecimal(device.classCode, 6), 6), (device.iommuGroup.map { "\($0)" } ?? "-", 5),
            (device.numaNode.map { "\($0)" } ?? "-", 4),
        ]
        let padded = columns.map { $0.0 + String(repeating: " ", count: max(0, $0.1 - $0.0.count)) }
        return (padded + [device.driver ?? "-"]).joined(separator: "  ")
    }

    private static func hexadecimal(_ number: UInt32, _ digits: Int) -> String {
        let text = String(number, radix: 16)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
}
