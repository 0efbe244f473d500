public import ProtocolModel

/// Hardware of guests for tests: every value of every setting, and any that go together.
public enum HardwareSettings {
    /// Each setting with the values that it may have.
    public static let values: [(name: String, values: [String])] = {
        func words<Word: RawRepresentable & CaseIterable>(_: Word.Type) -> [String] where Word.RawValue == String {
            Word.allCases.map(\.rawValue)
        }
        let properties = GuestHardware.Property.allCases.map { property -> (String, [String]) in
            let values: [String] =
                switch property {
                case .machine: ["q35", "pc", "pc-q35-7.2", "pc-i440fx-7.2"]
                case .firmware: words(GuestHardware.Firmware.self)
                case .secureBoot: words(GuestHardware.SecureBoot.self)
                case .video: words(GuestHardware.VideoModel.self)
                case .videoRAM: ["1", "8", "64"]
                case .disk: words(GuestHardware.DiskBus.self)
                case .network: words(GuestHardware.NetworkModel.self)
                case .watchdog: words(GuestHardware.WatchdogAction.self)
                case .input: words(GuestHardware.InputBus.self)
                case .guestAgent, .configuresX: ["true", "false"]
                case .system: ["linux", "windows"]
                case .sockets, .cores, .threads: ["1", "2"]
                }
            return (property.rawValue, values)
        }
        return properties
            + GuestHardware.Limit.allCases.map {
                ($0.rawValue, ["\($0.range.lowerBound)", "5000", "\($0.range.upperBound)"])
            }
    }()

    /// Settings without contradictions, each with one chance in three to be said.
    public static func random(using random: inout some RandomNumberGenerator) -> GuestHardware {
        while true {
            var settings: [String: String] = [:]
            for (name, values) in values where Int.random(in: 0..<3, using: &random) == 0 {
                settings[name] = values.randomElement(using: &random)
            }
            if let hardware = try? GuestHardware(settings: settings) { return hardware }
        }
    }
}
