import AgentDevices
import ArgumentParser
import Foundation

struct DevicesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "devices",
        abstract: "Lists the devices of this host that guests may have, and says why one may not be given to a guest.",
        discussion: """
            Devices of the classes in devices.classes are listed, by default display controllers and processing \
            accelerators. The agent need not run. Which instance has a device, and which devices are out of service, is for \
            root to see.
            """)

    enum Output: String, ExpressibleByArgument, CaseIterable {
        case table, json
    }

    @OptionGroup var options: SettingsOptions

    @Flag(name: .long, help: "List the devices of all classes.")
    var all = false

    @Option(name: .shortAndLong, help: "How to write the list: table or json.")
    var output = Output.table

    @Option(
        name: .long,
        help:
            "Let a device that is out of service back in, once it was reset and verified; the agent does so when it runs."
    )
    var readmit: String?

    func run() throws {
        let settings = try options.read()
        do {
            if let readmit { return try ask(for: readmit, settings) }
            let devices = try DeviceSurvey(settings).devices(all: all)
            let standings = try LedgerFile(data: settings.data).peek()?.standings ?? [:]
            switch output {
            case .table:
                for line in DeviceTable(devices, standings).lines { print(line) }
                if devices.isEmpty, !all { print(DeviceTable.none(settings.devicePolicy)) }
            case .json: print(try DeviceDocument.text(devices, standings))
            }
        } catch {
            throw CommandFailure(error)
        }
    }

    private func ask(for text: String, _ settings: AgentSettings) throws {
        guard let address = deviceAddress(text) else { throw DevicesProblem.badAddress(text) }
        guard try LedgerFile(data: settings.data).peek()?.quarantine[address] != nil else {
            throw DevicesProblem.inService(address)
        }
        try ReadmissionWishes(data: settings.data).add(address)
        print(
            "the agent resets and verifies \(address) within a minute, or once it runs; 'roost-agent devices' shows how it went"
        )
    }
}

enum DevicesProblem: Error, CustomStringConvertible {
    case badAddress(String)
    case inService(String)

    var description: String {
        switch self {
        case .badAddress(let text): "'\(text)' is no address of a device, such as 0000:3b:00.0"
        case .inService(let address): "\(address) is not out of service on this host"
        }
    }
}
