public import ProtocolModel

/// One of the site's rules about which devices guests may be given, and by what name.
public struct DeviceRule: Sendable, Equatable {
    public enum Action: String, Sendable, CaseIterable {
        /// Devices that fit can be asked for by the rule's alias (GPU-01).
        case alias
        /// Where there is any such rule, only devices that fit one are given to guests (GPU-02).
        case allow
        /// Devices that fit are never given to guests, whatever else is said of them.
        case deny
        /// Devices that fit are joined, as GPUs by an NVSwitch, and are given to a guest only as one of the rule's sets.
        case partition
    }

    public var id: DeviceRuleID
    public var action: Action
    /// For `alias`: what flavors ask for. Several rules may have the same.
    public var alias: String
    public var match: DeviceMatch
    /// For `partition`: which devices of one host may go together, by address (`dddd:bb:dd.f`). A set counts on the hosts that
    /// have all of it.
    public var sets: [[String]]
    public var description: String
    public var createdAt: Timestamp
    public var updatedAt: Timestamp

    /// More than the tables of boards with sixteen GPUs have.
    public static let maximumSets = 64
    public static let maximumSetSize = 32

    public init(
        id: DeviceRuleID, action: Action, alias: String, match: DeviceMatch, sets: [[String]] = [], description: String,
        createdAt: Timestamp, updatedAt: Timestamp
    ) {
        self.sets = sets
        self.id = id
        self.action = action
        self.alias = alias
        self.match = match
        self.description = description
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}

extension DeviceRule: Audited {
    public var auditedFields: [String: String] {
        let fields = [
            "action": action.rawValue, "alias": alias, "match": match.sentence, "sets": Self.sentence(sets),
            "description": description,
        ]
        return fields.filter { !$0.value.isEmpty }
    }
}

extension DeviceRule {
    /// For people: `0000:07:00.0+0000:0a:00.0, 0000:07:00.0`.
    static func sentence(_ sets: [[String]]) -> String {
        sets.map { $0.joined(separator: "+") }.joined(separator: ", ")
    }
}

extension DeviceMatch {
    /// For people: `vendor 10de, product 11bf`.
    public var sentence: String {
        func digits(_ number: Int) -> String { PCIDevice.digits(number, 4) }
        let parts = [
            vendor.map { "vendor \(digits($0))" }, product.map { "product \(digits($0))" },
            subsystemVendor.map { "subsystem vendor \(digits($0))" },
            subsystemProduct.map { "subsystem product \(digits($0))" }, classPrefix.map { "class \($0)" },
            address.map { "address \($0)" }, name.map { "name \($0)" }, node.map { "node \($0)" },
        ]
        return parts.compactMap(\.self).joined(separator: ", ")
    }
}

/// All rules of the site together.
public struct DeviceRules: Sendable, Equatable {
    private let aliases: [DeviceRule]
    private let allowed: [DeviceRule]
    private let denied: [DeviceRule]
    private let partitions: [DeviceRule]

    /// More would not fit into the set of bits that placement has for each device.
    public static let maximumAliases = 64
    /// Each device is compared with each rule.
    public static let maximumRules = 1000
    public init(_ rules: [DeviceRule]) {
        aliases = rules.filter { $0.action == .alias }
        allowed = rules.filter { $0.action == .allow }
        denied = rules.filter { $0.action == .deny }
        partitions = rules.filter { $0.action == .partition }
    }

    /// Every name that a flavor may ask for.
    public var aliasNames: Set<String> { Set(aliases.map(\.alias)) }

    /// By what names a device of a node can be asked for, and if by none, why.
    public func offer(of device: PCIDevice, on node: String) -> (aliases: [String], objection: DeviceObjection?) {
        if let reason = device.unusableReason { return ([], DeviceObjection(.host, reason)) }
        if let rule = denied.first(where: { $0.match.fits(device, on: node) }) {
            return ([], DeviceObjection(.denied, "a rule denies it (\(rule.match.sentence))"))
        }
        guard allowed.isEmpty || allowed.contains(where: { $0.match.fits(device, on: node) }) else {
            return (
                [], DeviceObjection(.unlisted, "there are rules that allow devices, and none allows this one")
            )
        }
        let names = Set(aliases.filter { $0.match.fits(device, on: node) }.map(\.alias))
        return names.isEmpty ? ([], .nameless) : (names.sorted(), nil)
    }

    /// The rules that let a device of a node go only in sets, oldest first.
    public func partitions(over device: PCIDevice, on node: String) -> [DeviceRuleID] {
        partitions.filter { $0.match.fits(device, on: node) }.map(\.id).sorted()
    }
}
