import ManagerModel

/// Devices of nodes as a superuser sees them.
enum DeviceResource {
    private static let number = Schema.nullable(.integer(-1...Int64.max))
    static let schema = ObjectSchema.answer(
        "Device",
        [
            ("id", .identifier), ("node", .text), ("address", .text), ("aliases", .array(.text, maximum: 64)),
            ("status", .choice(HostedDevice.Status.allCases.map(\.rawValue))), ("reason", .text), ("name", .text),
            ("vendor_id", .text), ("product_id", .text), ("subsystem_vendor_id", .nullable(.text)),
            ("subsystem_product_id", .nullable(.text)), ("class", .text), ("iommu_group", number),
            ("numa_node", number),
            ("driver", .text), ("group_members", .array(.text, maximum: 64)), ("boot_display", .boolean),
            ("instance", .nullable(.text)), ("instance_id", .nullable(.identifier)), ("owner", .nullable(.text)),
            ("used_as", .nullable(.text)), ("in_use_since", .nullable(.time)),
            ("quarantined_at", .nullable(.time)), ("first_seen_at", .time), ("changed_at", .time),
        ])

    static func encode(_ hosted: HostedDevice) -> JSONValue {
        let (device, facts) = (hosted.device, hosted.device.facts)
        return [
            "id": .text(device.id), "node": .string(hosted.nodeName), "address": .string(facts.address),
            "aliases": .texts(device.aliases), "status": .string(hosted.status.rawValue),
            "reason": .string(hosted.reason ?? ""), "name": .string(facts.name),
            "vendor_id": .string(PCIDevice.digits(facts.vendor, 4)),
            "product_id": .string(PCIDevice.digits(facts.product, 4)),
            "subsystem_vendor_id": .text(facts.subsystemVendor.map { PCIDevice.digits($0, 4) }),
            "subsystem_product_id": .text(facts.subsystemProduct.map { PCIDevice.digits($0, 4) }),
            "class": .string(PCIDevice.digits(facts.classCode, 6)), "iommu_group": .count(facts.iommuGroup),
            "numa_node": .count(facts.numaNode), "driver": .string(facts.driver),
            "group_members": .texts(facts.groupMembers ?? []), "boot_display": .boolean(facts.isBootDisplay ?? false),
            "instance": .text(hosted.instanceName), "instance_id": .text(device.claim?.instance),
            "owner": .text(hosted.owner), "used_as": .text(device.claim?.alias),
            "in_use_since": .text(device.claim?.since), "quarantined_at": .text(device.quarantinedAt),
            "first_seen_at": .text(device.firstSeenAt),
            "changed_at": .text(device.changedAt),
        ]
    }
}

/// How many devices there are by an alias.
enum DeviceAliasResource {
    static let schema = ObjectSchema.answer(
        "DeviceAlias",
        [
            ("alias", .text), ("total", .count), ("free", .count), ("free_on_one_node", .count), ("in_use", .count),
            ("offline", .count), ("disabled", .count), ("quarantined", .count),
        ])

    static func encode(_ numbers: DeviceNumbers) -> JSONValue {
        [
            "alias": .string(numbers.alias), "total": .count(numbers.total), "free": .count(numbers.free),
            "free_on_one_node": .count(numbers.freeTogether), "in_use": .count(numbers.inUse),
            "offline": .count(numbers.offline), "disabled": .count(numbers.disabled),
            "quarantined": .count(numbers.quarantined),
        ]
    }
}
