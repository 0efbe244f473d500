import ProtocolModel

/// What may be said in a flavor's properties (`extra_specs` elsewhere), checked when the flavor is saved.
///
/// A key without a colon that means nothing here is compared with the metadata of aggregates (SCH-04); one with a colon and
/// a prefix that means nothing here is the site's own note.
public enum FlavorProperties {
    /// More aliases in one flavor would make choosing devices costly.
    public static let maximumAliases = 8

    /// What was read, and what is wrong with it.
    public struct Reading: Sendable, Equatable {
        public var requirements = FlavorRequirements()
        /// By JSON pointer, in order of the keys.
        public var faults: [Refusal.Field] = []
        /// Whether all that is wrong is that what was said contradicts itself.
        public var isOnlyContradictory = false

        /// - Parameter flavor: how the sentence names it.
        public func refusal(of flavor: String) -> Refusal? {
            guard let first = faults.first else { return nil }
            return Refusal(
                isOnlyContradictory ? .unprocessable : .invalidRequest,
                "\(flavor): property \(FlavorProperties.key(of: first)) \(first.detail)", fields: faults)
        }
    }

    public static let scopedPrefix = "aggregate_instance_extra_specs:"
    static let opportunisticProperty = "placement:opportunistic"

    /// Prefixes of keys with a meaning, here or in the systems that flavors are brought from: a key of theirs that is not
    /// known is a mistake, or asks for what would not be done.
    private static let prefixes: Set<Substring> = [
        "accel", "aggregate_instance_extra_specs", "capabilities", "hw", "hw_rng", "hw_video", "os", "pci_passthrough",
        "placement", "quota", "resources", "trait",
    ]

    public static func read(_ properties: [String: String]) -> Reading {
        var reading = Reading()
        // Nearly every flavor.
        guard !properties.isEmpty else { return reading }
        guard properties.count <= ImageProperties.maximumCount else {
            reading.fault("", "must have at most \(ImageProperties.maximumCount) members")
            return reading
        }
        for (key, value) in properties.sorted(by: { $0.key < $1.key }) {
            if let fault = ImageProperties.textFault(key, value) {
                reading.fault(key, fault)
            } else {
                reading.take(key, value)
            }
        }
        reading.compareLimits()
        return reading
    }

    fileprivate static func prefix(of key: String) -> Substring? {
        key.firstIndex(of: ":").map { key[..<$0] }
    }

    fileprivate static func isKnownPrefix(_ prefix: Substring) -> Bool { prefixes.contains(prefix) }

    private static func key(of field: Refusal.Field) -> String {
        "'\(field.pointer.dropFirst("/properties/".count))'"
    }

    /// `a100:2,t4`: names, each with a number; 1 where it is left out.
    public static func devices(_ text: String) -> [FlavorRequirements.Devices]? {
        var devices: [FlavorRequirements.Devices] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let words = part.split(separator: ":", omittingEmptySubsequences: false)
            guard words.count <= 2, let word = words.first, case let name = word.filter({ $0 != " " }), !name.isEmpty,
                let count = words.count == 1 ? 1 : Int(words[1].filter { $0 != " " }),
                (1...Flavor.maximumGPUs).contains(count)
            else { return nil }
            devices.append(.init(alias: name, count: count))
        }
        return devices.sorted { $0.alias < $1.alias }
    }
}

extension FlavorProperties.Reading {
    fileprivate mutating func fault(_ key: String, _ detail: String) {
        faults.append(
            .init(pointer: "/properties" + (key.isEmpty ? "" : "/" + ImageProperties.escaped(key)), detail: detail))
    }

    fileprivate mutating func take(_ key: String, _ value: String) {
        switch key {
        case Flavor.aliasProperty: takeAliases(value)
        case Flavor.gpuProperty:
            if count(key, value, 0...Flavor.maximumGPUs) == nil { return }
        case "gpu":
            guard value == "true" || value == "false" else { return fault(key, "must be true or false") }
            takeRequirement(key, of: key, value)
        case "hw:cpu_policy":
            if let policy: FlavorRequirements.CPUPolicy = choice(key, value) {
                requirements.cpuPolicy = policy
            }
        case "hw:numa_nodes":
            if let number = count(key, value, 1...8) {
                requirements.numaNodes = number
            }
        case "hw:mem_page_size":
            if let size: FlavorRequirements.PageSize = choice(key, value) {
                requirements.pageSize = size
            }
        case "hw_video:ram_max_mb":
            if let size = count(key, value, 1...1024) {
                requirements.videoRAMMiB = size
            }
        case FlavorProperties.opportunisticProperty:
            if let preference: FlavorRequirements.Opportunistic = choice(key, value) {
                requirements.opportunistic = preference
            }
        case HostLossPolicy.property:
            if let policy: HostLossPolicy = choice(key, value) { requirements.onHostLoss = policy }
        default: takeOther(key, value)
        }
    }

    /// What it says of the size of guests and of their parts.
    public mutating func compare(vcpus: Int, ramMiB: Int) {
        guard faults.isEmpty else { return }
        if let cells = requirements.numaNodes, cells > vcpus {
            fault("hw:numa_nodes", "is \(cells), and there are \(vcpus) vCPUs for them")
        }
        if requirements.pageSize == .gibibyte1, ramMiB % 1024 != 0 {
            fault("hw:mem_page_size", "is 1GB, and \(ramMiB) MiB of RAM are no whole number of such pages")
        }
        if requirements.pageSize != .small, ramMiB % 2 != 0 {
            fault("hw:mem_page_size", "needs RAM in whole pages, and \(ramMiB) MiB is an odd number")
        }
        isOnlyContradictory = !faults.isEmpty
    }

    /// What limits say of one another.
    fileprivate mutating func compareLimits() {
        guard !requirements.limits.isEmpty else { return }
        var hardware = GuestHardware()
        hardware.limits = requirements.limits
        let wasFine = faults.isEmpty
        for contradiction in hardware.contradictions { fault(contradiction.property, contradiction.detail) }
        isOnlyContradictory = wasFine && !faults.isEmpty
    }

    private mutating func takeOther(_ key: String, _ value: String) {
        if let limit = GuestHardware.Limit(rawValue: key) {
            if let number = count(key, value, limit.range) { requirements.limits[limit] = number }
        } else if key.hasPrefix(FlavorProperties.scopedPrefix) {
            takeRequirement(key, of: String(key.dropFirst(FlavorProperties.scopedPrefix.count)), value)
        } else if let prefix = FlavorProperties.prefix(of: key) {
            if FlavorProperties.isKnownPrefix(prefix) {
                fault(key, "is not known; see the documentation of flavors for those that are")
            }
        } else {
            takeRequirement(key, of: key, value)
        }
    }

    private mutating func takeAliases(_ value: String) {
        let key = Flavor.aliasProperty
        guard let devices = FlavorProperties.devices(value) else {
            return fault(key, "must be a list such as 'a100:2,t4': names, each with a number")
        }
        guard Set(devices.map(\.alias)).count == devices.count else { return fault(key, "names an alias twice") }
        guard devices.count <= FlavorProperties.maximumAliases else {
            return fault(key, "names more than \(FlavorProperties.maximumAliases) aliases")
        }
        guard devices.reduce(0, { $0 + $1.count }) <= Flavor.maximumGPUs else {
            return fault(key, "asks for more than \(Flavor.maximumGPUs) devices")
        }
        requirements.devices = devices
    }

    private mutating func takeRequirement(_ property: String, of key: String, _ value: String) {
        guard !key.isEmpty, let requirement = AggregateRequirement(key: key, value: value) else {
            return fault(
                property,
                "must be a value of an aggregate's metadata, or one after s==, s!=, ==, !=, =, >=, <=, <in> or <or>")
        }
        requirements.aggregates.append(requirement)
    }

    private mutating func count(_ key: String, _ value: String, _ range: ClosedRange<Int>) -> Int? {
        guard let number = Int(value), range.contains(number) else {
            fault(key, "must be a whole number from \(range.lowerBound) to \(range.upperBound)")
            return nil
        }
        return number
    }

    private mutating func choice<Choice: RawRepresentable & CaseIterable>(_ key: String, _ value: String) -> Choice?
    where Choice.RawValue == String {
        if let choice = Choice(rawValue: value) { return choice }
        fault(key, "must be one of \(Choice.allCases.map(\.rawValue).joined(separator: ", "))")
        return nil
    }
}
