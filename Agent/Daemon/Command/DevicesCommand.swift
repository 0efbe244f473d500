import AgentDevices
import ArgumentParser
import Foundation

struct DevicesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "devices",
        abstract: "Lists the devices of this host that guests may have, and says why one may not be given to a guest.",
        discussion: """
            Devices of the classes in devices.classes are listed, by default display controllers and processing \
            accelerators. The agent need not run.
            """)

    enum Output: String, ExpressibleByArgument, CaseIterable {
        case table, json
    }

    @OptionGroup var options: SettingsOptions

    @Flag(name: .long, help: "List the devices of all classes.")
    var all = false

    @Option(name: .shortAndLong, help: "How to write the list: table or json.")
    var output = Output.table

    func run() throws {
        let settings = try options.read()
        do {
            let devices = try DeviceSurvey(settings).devices(all: all)
            switch output {
            case .table:
                for line in DeviceTable(devices).lines { print(line) }
                if devices.isEmpty, !all { print(DeviceTable.none(settings.devicePolicy)) }
            case .json: print(try DeviceDocument.text(devices))
            }
        } catch {
            throw CommandFailure(error)
        }
    }
}
