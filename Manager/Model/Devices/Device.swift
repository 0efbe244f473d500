public import ProtocolModel

/// A device of a node that could be given to a guest, as the record keeps it: from when it was first seen, through claims and
/// trouble, until its node is removed.
public struct Device: Sendable, Equatable {
    public var id: DeviceID
    public var node: NodeID
    /// As last reported.
    public var facts: PCIDevice
    /// Whether the node's last inventory names it.
    public var isPresent: Bool
    /// By what names it can be asked for, by the site's rules.
    public var aliases: [String]
    /// Why it can be asked for by none.
    public var objection: DeviceObjection?
    /// The rules that let it go only as part of one of their sets, oldest first.
    public var partitions: [DeviceRuleID]
    /// Why an operator keeps it out of service though it is there; `nil`: nobody does. Its host may (`facts`).
    public var quarantineReason: String?
    public var quarantinedAt: Timestamp?
    /// Who has it; `nil`: nobody.
    public var claim: DeviceClaim?
    public var firstSeenAt: Timestamp
    /// When it last appeared, went or changed.
    public var changedAt: Timestamp

    public init(id: DeviceID, node: NodeID, facts: PCIDevice, at now: Timestamp) {
        self.id = id
        self.node = node
        self.facts = facts
        isPresent = true
        aliases = []
        objection = nil
        partitions = []
        quarantineReason = nil
        quarantinedAt = nil
        claim = nil
        firstSeenAt = now
        changedAt = now
    }

    public enum Status: String, Sendable, CaseIterable {
        case free
        /// An instance has it, or its host keeps it for one.
        case inUse = "in_use"
        /// Its host, or a rule of the site, does not let it go.
        case unusable
        /// Kept out of service.
        case quarantined
        /// Gone from its host.
        case absent
    }

    public var status: Status {
        if (quarantineReason ?? facts.quarantineReason) != nil { return .quarantined }
        if !isPresent { return .absent }
        if claim != nil || facts.heldBy != nil { return .inUse }
        return aliases.isEmpty ? .unusable : .free
    }

    /// Why it is not free.
    public var reason: String? {
        switch status {
        case .free: nil
        case .inUse: claim == nil ? "its host makes it ready for the next guest" : nil
        case .unusable: objection?.sentence
        case .quarantined: quarantineReason ?? facts.quarantineReason
        case .absent: "its host does not report it any more"
        }
    }

    /// Whether a guest may have it now, if only together with another of its group.
    ///
    /// - Parameter instance: may have what its host still keeps for it.
    public func isGivable(to instance: InstanceID?) -> Bool {
        var device = self
        if let instance, facts.heldBy == instance { device.facts.heldBy = nil }
        return device.status == .free || (device.status == .unusable && objection?.kind == .nameless)
    }

    public mutating func heed(_ rules: DeviceRules, node name: String) {
        (aliases, objection) = rules.offer(of: facts, on: name)
        partitions = rules.partitions(over: facts, on: name)
    }

    /// As it is while no host is busy with it: what comes and goes with each guest is no news of the device.
    public var settled: Device {
        var device = self
        device.facts.heldBy = nil
        return device
    }
}

/// Why a device can be asked for by no name.
public struct DeviceObjection: Sendable, Hashable {
    public enum Kind: String, Sendable, CaseIterable {
        /// Its host does not let it go.
        case host
        /// A rule denies it.
        case denied
        /// There are rules that allow devices, and none allows this one.
        case unlisted
        /// Nothing is against it, and no rule names it: it may go along with others of its group.
        case nameless
    }

    public var kind: Kind
    public var sentence: String

    public init(_ kind: Kind, _ sentence: String) {
        self.kind = kind
        self.sentence = sentence
    }

    static let nameless = DeviceObjection(
        .nameless, "no rule gives it an alias; 'roost device rule create alias' makes one")
}

/// That an instance has a device, from when it is placed or started until its guest is gone (GPU-09).
public struct DeviceClaim: Sendable, Hashable {
    public var instance: InstanceID
    /// By what the instance asked for it; empty: it goes along with one of its group that was asked for.
    public var alias: String
    public var since: Timestamp

    public init(instance: InstanceID, alias: String, since: Timestamp) {
        self.instance = instance
        self.alias = alias
        self.since = since
    }
}

extension Device: Audited {
    public var auditedFields: [String: String] {
        var fields = ["status": status.rawValue, "name": facts.name]
        if !aliases.isEmpty { fields["aliases"] = aliases.joined(separator: ",") }
        if let reason { fields["reason"] = reason }
        return fields
    }
}
