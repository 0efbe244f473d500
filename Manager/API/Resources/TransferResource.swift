import ManagerModel

/// Limits of image transfers, in requests and answers.
enum TransferResource {
    private static let rate = Schema.nullable(.integer(TransferLimits.lowestRate...1_000_000_000_000))
    private static let images = Schema.nullable(.integer(1...64))

    static let limits = ObjectSchema.answer(
        "TransferLimits",
        [
            ("send_bytes_per_second", .nullable(.count)), ("receive_bytes_per_second", .nullable(.count)),
            ("disk_bytes_per_second", .nullable(.count)), ("concurrent_images", .nullable(.count)),
        ])
    private static let common: [ObjectSchema.Field] = [
        .init("send_bytes_per_second", rate, "what a node sends to others"),
        .init("receive_bytes_per_second", rate, "what a node receives"),
        .init("disk_bytes_per_second", rate, "what a node writes to its cache"),
        .init("concurrent_images", images, "images that a node receives at a time"),
    ]
    static let change = ObjectSchema("TransferLimitsChange", common)
    static let site = ObjectSchema.answer(
        "SiteTransfers",
        limits.fields.map { ($0.name, $0.schema) } + [
            ("manager_send_bytes_per_second", .nullable(.count)),
            ("manager_link_bytes_per_second", .nullable(.count)), ("total_bytes_per_second", .nullable(.count)),
            ("prefill_share_percent", .integer(1...100)),
        ])
    static let siteChange = ObjectSchema(
        "SiteTransfersChange",
        common + [
            .init("manager_send_bytes_per_second", rate, "what each manager sends"),
            .init(
                "manager_link_bytes_per_second", rate,
                "what a manager's link carries, no limit: where that is several times what hosts receive, a prefill "
                    + "begins several chains"),
            .init("total_bytes_per_second", rate, "what all nodes together receive, shared equally"),
            .init(
                "prefill_share_percent", .integer(1...100),
                "what prefills keep of each limit while launches want all of it"),
        ])

    static func encode(_ limits: TransferLimits) -> JSONValue {
        [
            "send_bytes_per_second": .count(limits.sendBytesPerSecond),
            "receive_bytes_per_second": .count(limits.receiveBytesPerSecond),
            "disk_bytes_per_second": .count(limits.diskBytesPerSecond),
            "concurrent_images": .count(limits.concurrentImages),
        ]
    }

    static func encode(_ transfers: SiteTransfers) -> JSONValue {
        .object(
            (encode(transfers.node).members ?? []) + [
                .init("manager_send_bytes_per_second", .count(transfers.managerSendBytesPerSecond)),
                .init("manager_link_bytes_per_second", .count(transfers.managerLinkBytesPerSecond)),
                .init("total_bytes_per_second", .count(transfers.totalBytesPerSecond)),
                .init("prefill_share_percent", .count(transfers.prefillSharePercent)),
            ])
    }

    /// Members that are there are changed; `null` takes a limit away.
    static func apply(_ change: JSONValue, to limits: inout TransferLimits) {
        if let value = change["send_bytes_per_second"] { limits.sendBytesPerSecond = value.integer }
        if let value = change["receive_bytes_per_second"] { limits.receiveBytesPerSecond = value.integer }
        if let value = change["disk_bytes_per_second"] { limits.diskBytesPerSecond = value.integer }
        if let value = change["concurrent_images"] { limits.concurrentImages = value.integer.map { Int($0) } }
    }

    static func apply(_ change: JSONValue, to transfers: inout SiteTransfers) {
        apply(change, to: &transfers.node)
        if let value = change["manager_send_bytes_per_second"] { transfers.managerSendBytesPerSecond = value.integer }
        if let value = change["manager_link_bytes_per_second"] { transfers.managerLinkBytesPerSecond = value.integer }
        if let value = change["total_bytes_per_second"] { transfers.totalBytesPerSecond = value.integer }
        if let value = change["prefill_share_percent"]?.integer { transfers.prefillSharePercent = Int(value) }
    }
}
