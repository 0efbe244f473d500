public import Foundation

/// A device of a node that guests could be given, such as a GPU; for operators.
public struct Device: Resource, Equatable {
    /// Under `/v1/`.
    public static let collection = "devices"

    /// Never given to another.
    public var id: String
    /// The name of the node that it is in.
    public var node: String
    /// Such as `0000:3b:00.0`.
    public var address: String
    /// By what names flavors can ask for it, by the site's rules.
    public var aliases: [String]
    /// `free`, `in_use`, `offline`, `disabled`, `unusable`, `quarantined` or `absent`.
    public var status: String
    /// Why it is not free.
    public var reason: String
    /// Vendor and product.
    public var name: String
    /// Four hexadecimal digits.
    public var vendorID: String
    /// Four hexadecimal digits.
    public var productID: String
    /// Six hexadecimal digits.
    public var deviceClass: String
    /// The other devices that go where it goes, by address.
    public var groupMembers: [String]
    /// Near which part of the host's memory it is.
    public var numaNode: Int?
    /// The name of the instance that has it.
    public var instance: String?
    public var instanceID: String?
    /// The user whose instance has it.
    public var owner: String?
    /// By what alias the instance asked for it; empty: it goes along with another of its group.
    public var usedAs: String?
    public var inUseSince: Date?
    /// Since when it is kept out of service.
    public var quarantinedAt: Date?
    /// When its node first told of it.
    public var firstSeenAt: Date
    /// When it last appeared, went or changed.
    public var changedAt: Date

    enum CodingKeys: String, CodingKey {
        case id, node, address, aliases, status, reason, name, vendorID = "vendor_id", productID = "product_id",
            deviceClass = "class", groupMembers = "group_members", numaNode = "numa_node",
            instance, instanceID = "instance_id", owner, usedAs = "used_as", inUseSince = "in_use_since",
            quarantinedAt = "quarantined_at", firstSeenAt = "first_seen_at", changedAt = "changed_at"
    }
}

extension Resources where Item == Device {
    private struct Quarantine: Encodable {
        var reason: String
    }

    /// Keeps a device out of service.
    public func quarantine(_ id: String, reason: String) async throws -> Device {
        try await act(id, "quarantine", Quarantine(reason: reason))
    }

    /// Lets a device back into service.
    public func release(_ id: String) async throws -> Device {
        let request = Request(.post, try Address.path(Device.collection, id, "release"))
        return try Coding.decode(try await client.send(request))
    }
}

/// How many devices there are by an alias.
public struct DeviceAlias: Resource, Equatable {
    /// Under `/v1/`.
    public static let collection = "device-aliases"

    /// What flavors ask for.
    public var alias: String
    /// Of the whole site.
    public var total: Int
    /// That a guest could be given now.
    public var free: Int
    /// The most that are free on one node.
    public var freeOnOneNode: Int
    /// That instances have.
    public var inUse: Int
    /// On nodes that do not answer.
    public var offline: Int
    /// On nodes that take no instances.
    public var disabled: Int
    /// Kept out of service.
    public var quarantined: Int

    enum CodingKeys: String, CodingKey {
        case alias, total, free, freeOnOneNode = "free_on_one_node", inUse = "in_use", offline, disabled, quarantined
    }
}
