import ManagerModel
import ProtocolModel

/// Instances as clients see them (DESIGN §10).
enum InstanceResource {
    static let device = ObjectSchema.answer(
        "InstanceDevice", [("id", .identifier), ("alias", .text), ("address", .text), ("name", .text)])

    static let hostLossPolicy = Schema.choice(HostLossPolicy.allCases.map(\.rawValue))
    static let hostLossHelp =
        "when its host vanishes. keep: it waits for its host, with its disk; as its flavor says if not given, else keep. restart: "
        + "once it is certain that the host is off it is started anew elsewhere, from its image: what was written to its disk "
        + "is lost"

    static let schema = ObjectSchema.answer(
        "Instance",
        [
            ("id", .identifier), ("name", .text), ("status", .choice(InstanceStatus.allCases.map(\.rawValue))),
            ("status_reason", .text), ("status_code", .text),
            ("power_state", .choice(["running", "stopped", "unknown"])),
            ("desired_state", .choice(DesiredState.allCases.map(\.rawValue))), ("flavor", .text),
            ("flavor_id", .identifier), ("image", .text), ("image_id", .identifier), ("node", .nullable(.text)),
            ("node_id", .nullable(.identifier)), ("addresses", .array(.text, maximum: 64)), ("created_at", .time),
            ("updated_at", .time), ("owner", .text), ("owner_id", .identifier), ("account", .text),
            ("key_name", .nullable(.text)), ("server_group", .nullable(.text)),
            ("server_group_id", .nullable(.identifier)), ("metadata", .map(.text, maximum: 1000)), ("host_name", .text),
            ("vcpus", .count), ("ram_mib", .count), ("disk_gib", .count),
            ("devices", .array(.object(device), maximum: 1024)),
            ("on_host_loss", hostLossPolicy), ("generation", .count), ("epoch", .count),
            ("ready_at", .nullable(.time)), ("started_at", .nullable(.time)), ("operation_id", .nullable(.identifier)),
        ])

    static func encode(_ instance: Instance, _ names: Names) throws -> JSONValue {
        let isPlaced = instance.status != .deleted
        return [
            "id": .text(instance.id), "name": .string(instance.name), "status": .string(instance.status.rawValue),
            "status_reason": .string(instance.statusReason), "status_code": .string(instance.statusCode),
            "power_state": .string(powerState(instance.status)), "desired_state": .string(instance.desired.rawValue),
            "flavor": .string(try names.flavor(instance.flavor)), "flavor_id": .text(instance.flavor),
            "image": .string(try names.image(instance.image)), "image_id": .text(instance.image),
            "node": isPlaced ? .string(try names.node(instance.node)) : .null,
            "node_id": isPlaced ? .text(instance.node) : .null,
            "addresses": .texts([instance.ipAddress].compactMap { $0 }), "created_at": .text(instance.createdAt),
            "updated_at": .text(instance.updatedAt), "owner": .string(try names.user(instance.owner)),
            "owner_id": .text(instance.owner), "account": .string(instance.account),
            "key_name": .text(instance.keyName),
            "server_group": .text(try instance.serverGroup.map { try names.serverGroup($0) }),
            "server_group_id": .text(instance.serverGroup),
            "metadata": .map(instance.metadata), "host_name": .string(instance.hostName),
            "vcpus": .count(instance.vcpus),
            "ram_mib": .count(instance.ramMiB), "disk_gib": .count(instance.diskGiB),
            "devices": .array(try devices(of: instance, names)),
            "on_host_loss": .string(instance.onHostLoss.rawValue),
            "generation": .count(instance.generation.value), "epoch": .count(instance.epoch.value),
            "ready_at": .text(instance.readyAt), "started_at": .text(instance.startedAt),
            "operation_id": .text(instance.operation),
        ]
    }

    /// What it has now; nearly none asks for any.
    private static func devices(of instance: Instance, _ names: Names) throws -> [JSONValue] {
        guard !instance.devices.isEmpty else { return [] }
        return try names.devices(of: instance.id).map { device in
            [
                "id": .text(device.id), "alias": .string(device.claim?.alias ?? ""),
                "address": .string(device.facts.address), "name": .string(device.facts.name),
            ]
        }
    }

    private static func powerState(_ status: InstanceStatus) -> String {
        switch status {
        case .active, .rebooting, .stopping, .migrating: "running"
        case .queued, .building, .stopped, .deleted: "stopped"
        case .error, .deleting: "unknown"
        }
    }
}
