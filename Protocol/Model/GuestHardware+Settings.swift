extension GuestHardware {
    /// More are none of ours.
    public static let maximumSettings = 64

    /// Everything that is other than ordinary, by the names of properties; empty for most guests.
    public var settings: [String: String] {
        var settings: [String: String] = [:]
        func say(_ property: Property, _ value: String?) { settings[property.rawValue] = value }
        if let machine, machine != "q35" { say(.machine, machine) }
        if firmware != .bios { say(.firmware, firmware.rawValue) }
        if firmware == .uefi, secureBoot != .disabled { say(.secureBoot, secureBoot.rawValue) }
        if let video, video != .none { say(.video, video.rawValue) }
        say(.videoRAM, videoRAMMiB.map(String.init))
        if disk != .virtio { say(.disk, disk.rawValue) }
        if network != .virtio { say(.network, network.rawValue) }
        if watchdog != .disabled { say(.watchdog, watchdog.rawValue) }
        say(.input, input?.rawValue)
        if hasGuestAgent { say(.guestAgent, "true") }
        if isWindows { say(.system, "windows") }
        if configuresX { say(.configuresX, "true") }
        say(.sockets, sockets.map(String.init))
        say(.cores, cores.map(String.init))
        say(.threads, threads.map(String.init))
        for (limit, value) in limits { settings[limit.rawValue] = "\(value)" }
        return settings
    }

    /// Reads what the other side sent or the record holds. What is not known is refused: a guest without what it was to have
    /// is not the one that was asked for.
    public init(settings: [String: String]) throws(Fault) {
        self.init()
        guard settings.count <= Self.maximumSettings else {
            throw Fault("", "\(settings.count) settings are more than there are")
        }
        for (name, value) in settings.sorted(by: { $0.key < $1.key }) {
            if let property = Property(rawValue: name) {
                try take(value, for: property)
            } else if let limit = Limit(rawValue: name) {
                limits[limit] = try Self.number(value, name, limit.range)
            } else {
                throw Fault(String(name.prefix(64)), "is not known here")
            }
        }
        if let fault = contradictions.first { throw fault }
    }

    /// Takes over what an image's property says.
    public mutating func take(_ value: String, for property: Property) throws(Fault) {
        let name = property.rawValue
        switch property {
        case .machine:
            let isPlain = { (byte: UInt8) in
                (48...57).contains(byte) || (97...122).contains(byte) || (65...90).contains(byte)
            }
            guard (1...64).contains(value.utf8.count), value.utf8.allSatisfy({ isPlain($0) || "._-".utf8.contains($0) })
            else { throw Fault(name, "must be a machine type of QEMU, such as q35, pc or pc-q35-7.2") }
            machine = value
        case .firmware: firmware = try Self.choice(value, name)
        case .secureBoot: secureBoot = try Self.choice(value, name)
        case .video: video = try Self.choice(value, name)
        case .videoRAM: videoRAMMiB = try Self.number(value, name, 1...1024)
        case .disk: disk = try Self.choice(value, name)
        case .network: network = try Self.choice(value, name)
        case .watchdog: watchdog = try Self.choice(value, name)
        case .input: input = try Self.choice(value, name)
        case .guestAgent: hasGuestAgent = try Self.flag(value, name)
        case .system: isWindows = value == "windows"
        case .configuresX: configuresX = try Self.flag(value, name)
        case .sockets: sockets = try Self.number(value, name, 1...1024)
        case .cores: cores = try Self.number(value, name, 1...1024)
        case .threads: threads = try Self.number(value, name, 1...1024)
        }
    }

    /// What cannot be together, whatever the host.
    public var contradictions: [Fault] {
        var faults: [Fault] = []
        func fault(_ property: Property, _ detail: String) { faults.append(Fault(property.rawValue, detail)) }
        if disk == .ide, !isOldPC { fault(.disk, "ide needs hw_machine_type pc, since a q35 has no IDE") }
        if secureBoot == .required, firmware != .uefi { fault(.secureBoot, "required needs hw_firmware_type uefi") }
        if secureBoot == .required, !isQ35 { fault(.secureBoot, "required needs hw_machine_type q35") }
        if video == VideoModel.none, videoRAMMiB != nil {
            fault(.videoRAM, "needs a video card, and hw_video_model is none")
        }
        if configuresX, isWindows { fault(.configuresX, "is for guests with Linux, and os_type is windows") }
        let pairs: [(Limit, [Limit])] = [
            (.diskTotalBytes, [.diskReadBytes, .diskWriteBytes]),
            (.diskTotalRequests, [.diskReadRequests, .diskWriteRequests]),
        ]
        for (total, parts) in pairs where limits[total] != nil && parts.contains(where: { limits[$0] != nil }) {
            faults.append(
                Fault(total.rawValue, "limits reading and writing together, and cannot stand beside a limit of one"))
        }
        let averages: [(Limit, [Limit])] = [
            (.inboundAverage, [.inboundPeak, .inboundBurst]), (.outboundAverage, [.outboundPeak, .outboundBurst]),
        ]
        for (average, others) in averages where limits[average] == nil {
            for other in others where limits[other] != nil {
                faults.append(Fault(other.rawValue, "needs \(average.rawValue)"))
            }
        }
        for (average, peak) in [(Limit.inboundAverage, Limit.inboundPeak), (.outboundAverage, .outboundPeak)] {
            if let average = limits[average], let most = limits[peak], most < average {
                faults.append(Fault(peak.rawValue, "is less than the average"))
            }
        }
        return faults
    }

    private static func choice<Choice: RawRepresentable & CaseIterable>(
        _ value: String, _ name: String
    ) throws(Fault) -> Choice where Choice.RawValue == String {
        if let choice = Choice(rawValue: value) { return choice }
        throw Fault(name, "must be one of \(Choice.allCases.map(\.rawValue).joined(separator: ", "))")
    }

    private static func number(_ value: String, _ name: String, _ range: ClosedRange<Int>) throws(Fault) -> Int {
        if let number = Int(value), range.contains(number) { return number }
        throw Fault(name, "must be a whole number from \(range.lowerBound) to \(range.upperBound)")
    }

    private static func flag(_ value: String, _ name: String) throws(Fault) -> Bool {
        switch value.lowercased() {
        case "true", "yes": return true
        case "false", "no": return false
        default: throw Fault(name, "must be true or false")
        }
    }
}
