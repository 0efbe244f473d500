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
    public var objection: String?
    /// Why it is kept out of service though it is there; `nil`: it is in service.
    public var quarantineReason: String?
    public var quarantinedAt: Timestamp?
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
        quarantineReason = nil
        quarantinedAt = nil
        firstSeenAt = now
        changedAt = now
    }

    public enum Status: String, Sendable, CaseIterable {
        case free
        /// Its host, or a rule of the site, does not let it go.
        case unusable
        /// Kept out of service.
        case quarantined
        /// Gone from its host.
        case absent
    }

    public var status: Status {
        if quarantineReason != nil { return .quarantined }
        if !isPresent { return .absent }
        return aliases.isEmpty ? .unusable : .free
    }

    /// Why it is not free.
    public var reason: String? {
        switch status {
        case .free: nil
        case .unusable: objection
        case .quarantined: quarantineReason
        case .absent: "its host does not report it any more"
        }
    }

    public mutating func heed(_ rules: DeviceRules, node name: String) {
        (aliases, objection) = rules.offer(of: facts, on: name)
    }
}

extension Device: Audited {
    public var auditedFields: [String: String] {
        var fields = ["status": status.rawValue, "name": facts.name, "aliases": aliases.joined(separator: ",")]
        if let reason { fields["reason"] = reason }
        return fields
    }
}
