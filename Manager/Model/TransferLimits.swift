/// How much a node may move for images. What is `nil` is not limited; in a node's own limits, it is as the site says.
public struct TransferLimits: Sendable, Equatable, Codable {
    /// Of each rate: at less, one chunk would take longer than its receiver waits.
    public static let lowestRate: Int64 = 1 << 20

    public var sendBytesPerSecond: Int64?
    public var receiveBytesPerSecond: Int64?
    /// Written to the cache.
    public var diskBytesPerSecond: Int64?
    /// Images received at a time.
    public var concurrentImages: Int?

    public init() {}

    /// These limits, and `others` where these say nothing.
    public func or(_ others: TransferLimits) -> TransferLimits {
        var limits = self
        limits.sendBytesPerSecond = sendBytesPerSecond ?? others.sendBytesPerSecond
        limits.receiveBytesPerSecond = receiveBytesPerSecond ?? others.receiveBytesPerSecond
        limits.diskBytesPerSecond = diskBytesPerSecond ?? others.diskBytesPerSecond
        limits.concurrentImages = concurrentImages ?? others.concurrentImages
        return limits
    }

    public var auditedFields: [String: String] {
        var fields: [String: String] = [:]
        if let sendBytesPerSecond { fields["transfer.send_bytes_per_second"] = "\(sendBytesPerSecond)" }
        if let receiveBytesPerSecond { fields["transfer.receive_bytes_per_second"] = "\(receiveBytesPerSecond)" }
        if let diskBytesPerSecond { fields["transfer.disk_bytes_per_second"] = "\(diskBytesPerSecond)" }
        if let concurrentImages { fields["transfer.concurrent_images"] = "\(concurrentImages)" }
        return fields
    }
}

/// What the site says of image transfers.
public struct SiteTransfers: Sendable, Equatable, Codable {
    /// Of each node that has no limits of its own.
    public var node = TransferLimits()
    /// Of each manager.
    public var managerSendBytesPerSecond: Int64?
    /// What the link of each manager carries, where that is more than hosts take: no limit, but a prefill may then begin
    /// several chains.
    public var managerLinkBytesPerSecond: Int64?
    /// What all nodes together may receive; shared equally among those that receive.
    public var totalBytesPerSecond: Int64?
    /// What prefills keep of each limit while launches want all of it.
    public var prefillSharePercent = 10

    public init() {}

    /// What a manager can send at once, where it is known.
    public var headBytesPerSecond: Int64? {
        managerLinkBytesPerSecond.map { min($0, managerSendBytesPerSecond ?? .max, totalBytesPerSecond ?? .max) }
    }
}

extension SiteTransfers: Audited {
    public var auditedFields: [String: String] {
        var fields = node.auditedFields
        fields["transfer.prefill_share_percent"] = "\(prefillSharePercent)"
        if let managerSendBytesPerSecond {
            fields["transfer.manager_send_bytes_per_second"] = "\(managerSendBytesPerSecond)"
        }
        if let managerLinkBytesPerSecond {
            fields["transfer.manager_link_bytes_per_second"] = "\(managerLinkBytesPerSecond)"
        }
        if let totalBytesPerSecond { fields["transfer.total_bytes_per_second"] = "\(totalBytesPerSecond)" }
        return fields
    }
}
