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
    }

    public var id: DeviceRuleID
    public var action: Action
    /// For `alias`: what flavors ask for. Several rules may have the same.
    public var alias: String
    public var match: DeviceMatch
    public var description: String
    public var createdAt: Timestamp
    public var updatedAt: Timestamp

    public init(
        id: DeviceRuleID, action: Action, alias: String, match: DeviceMatch, description: String, createdAt: Timestamp,
        updatedAt: Timestamp
    ) {
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
        var fields = ["action": action.rawValue, "alias": alias, "description": description]
        fields["match"] = match.sentence
        return fields
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

    /// More would not fit into the set of bits that placement has for each device.
    public static let maximumAliases = 64
    /// Each device is compared with each rule.
    public static let maximumRules = 1000
    /// Why a device that the host lets go, and that no rule denies, can be asked for by nothing. It may go along with others.
    static let nameless = "no rule gives it an alias; 'roost device rule create alias' makes one"

    public init(_ rules: [DeviceRule]) {
        aliases = rules.filter { $0.action == .alias }
        allowed = rules.filter { $0.action == .allow }
        denied = rules.filter { $0.action == .deny }
    }

    /// Every name that a flavor may ask for.
    public var aliasNames: Set<String> { Set(aliases.map(\.alias)) }

    /// By what names a device of a node can be asked for, and if by none, why.
    public func offer(of device: PCIDevice, on node: String) -> (aliases: [String], objection: String?) {
        if let reason = device.unusableReason { return ([], reason) }
        if let rule = denied.first(where: { $0.match.fits(device, on: node) }) {
            return ([], "a rule denies it (\(rule.match.sentence))")
        }
        guard allowed.isEmpty || allowed.contains(where: { $0.match.fits(device, on: node) }) else {
            return ([], "there are rules that allow devices, and none allows this one")
        }
        let names = Set(aliases.filter { $0.match.fits(device, on: node) }.map(\.alias))
        guard !names.isEmpty else {
            return ([], Self.nameless)
        }
        return (names.sorted(), nil)
    }
}
