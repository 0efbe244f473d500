/// How many devices have an alias, and what keeps guests from them (GPU-07, GPU-09). Each device is counted for one thing.
public struct DeviceNumbers: Sendable, Equatable {
    public var alias: String
    /// Those that are gone from their hosts do not count.
    public var total = 0
    public var free = 0
    /// The most that are free on one node: an instance has all its devices there.
    public var freeTogether = 0
    public var inUse = 0
    public var quarantined = 0
    /// On nodes that are not heard from.
    public var offline = 0
    /// On nodes that take no instances.
    public var disabled = 0

    public init(alias: String) { self.alias = alias }

    /// Counts devices in; free ones all of one node at once.
    public mutating func add(_ count: Int, _ status: HostedDevice.Status) {
        switch status {
        // One without an alias is of no interest here, and `unusable` means that it has none.
        case .absent, .unusable: return
        case .free:
            free += count
            freeTogether = max(freeTogether, count)
        case .inUse: inUse += count
        case .quarantined: quarantined += count
        case .offline: offline += count
        case .disabled: disabled += count
        }
        total += count
    }

    /// What whoever asked for so many on one node needs to know; `nil`: there are as many, and the devices are not what is
    /// in the way.
    public func shortage(of wanted: Int) -> String? {
        guard wanted > freeTogether else { return nil }
        guard total > 0 else { return "the site has no device '\(alias)' that instances can be given" }
        let beginning =
            freeTogether > 0
            ? "\(wanted) devices '\(alias)' on one node are wanted, and at most \(freeTogether) \(Self.are(freeTogether)) free"
            : wanted == 1 ? "no device '\(alias)' is free" : "no device '\(alias)' is free, and \(wanted) are wanted"
        return "\(beginning): \(standing)"
    }

    /// What whoever asked for so many needs to know where there are as many free on one node, and they are joined in sets
    /// (`DeviceRule.Action.partition`) none of which is free.
    ///
    /// - Parameter place: such as `on any host`.
    public func wantOfSet(of wanted: Int, _ place: String) -> String {
        "no whole set of \(wanted) \(wanted == 1 ? "device" : "devices") '\(alias)' is free \(place): \(standing)"
    }

    /// Such as `of 8, 5 are in use, 1 is offline and 2 are on disabled nodes`.
    private var standing: String {
        let parts = [
            (inUse, "in use"), (offline, "offline"),
            (disabled, disabled == 1 ? "on a disabled node" : "on disabled nodes"),
            (quarantined, "out of service"), (free, "free"),
        ]
        .filter { $0.0 > 0 }.map { "\($0.0) \(Self.are($0.0)) \($0.1)" }
        let listed =
            parts.count < 2
            ? parts.joined() : parts.dropLast().joined(separator: ", ") + " and " + parts[parts.count - 1]
        return "of \(total), \(listed)"
    }

    private static func are(_ number: Int) -> String { number == 1 ? "is" : "are" }
}
