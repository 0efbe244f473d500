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
    /// Where it stands among those that wait for room.
    static let queue = ObjectSchema.answer(
        "InstanceQueue",
        [
            ("position", .count), ("length", .count), ("queued_at", .time), ("reserved_node", .nullable(.text)),
        ])

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
            ("priority", .integer(Int64(QueueEntry.priorities.lowerBound)...Int64(QueueEntry.priorities.upperBound))),
            ("preemptible", .boolean), ("on_preemption", .nullable(.choice(Preemption.allCases.map(\.rawValue)))),
            ("queue", .nullable(.object(queue))), ("devices", .array(.object(device), maximum: 1024)),
            ("on_host_loss", hostLossPolicy), ("generation", .count), ("epoch", .count),
            ("ready_at", .nullable(.time)), ("started_at", .nullable(.time)), ("operation_id", .nullable(.identifier)),
        ])

    static func encode(_ instance: Instance, _ names: Names) throws -> JSONValue {
        let node = instance.status != .deleted ? instance.node : nil
        let queue = instance.isWaiting ? try names.queuePosition(of: instance.id) : nil
        return [
            "id": .text(instance.id), "name": .string(instance.name), "status": .string(instance.status.rawValue),
            "status_reason": .string(try reason(of: instance, queue, names)),
            "status_code": .string(instance.statusCode),
            "power_state": .string(powerState(instance.status)), "desired_state": .string(instance.desired.rawValue),
            "flavor": .string(try names.flavor(instance.flavor)), "flavor_id": .text(instance.flavor),
            "image": .string(try names.image(instance.image)), "image_id": .text(instance.image),
            "node": .text(try node.map { try names.node($0) }), "node_id": .text(node),
            "addresses": .texts([instance.ipAddress].compactMap { $0 }), "created_at": .text(instance.createdAt),
            "updated_at": .text(instance.updatedAt), "owner": .string(try names.user(instance.owner)),
            "owner_id": .text(instance.owner), "account": .string(instance.account),
            "key_name": .text(instance.keyName),
            "server_group": .text(try instance.serverGroup.map { try names.serverGroup($0) }),
            "server_group_id": .text(instance.serverGroup),
            "metadata": .map(instance.metadata), "host_name": .string(instance.hostName),
            "vcpus": .count(instance.vcpus),
            "ram_mib": .count(instance.ramMiB), "disk_gib": .count(instance.diskGiB),
            "priority": .integer(Int64(instance.priority)), "preemptible": .boolean(instance.preemption != nil),
            "on_preemption": .text(instance.preemption?.rawValue), "queue": try encode(queue, names),
            "devices": .array(try devices(of: instance, names)),
            "on_host_loss": .string(instance.onHostLoss.rawValue),
            "generation": .count(instance.generation.value), "epoch": .count(instance.epoch.value),
            "ready_at": .text(instance.readyAt), "started_at": .text(instance.startedAt),
            "operation_id": .text(instance.operation),
        ]
    }

    /// What one that waits is told: what for, as it is now, and how many are before it.
    private static func reason(of instance: Instance, _ queue: QueuePosition?, _ names: Names) throws -> String {
        guard let queue else { return instance.statusReason }
        let shortage = try names.deviceShortage(of: instance.devices).map { "waits for devices: \($0)" }
        return (shortage ?? queue.entry.reason) + "; number \(queue.position) of \(queue.length) in the queue"
    }

    private static func encode(_ queue: QueuePosition?, _ names: Names) throws -> JSONValue {
        guard let queue else { return .null }
        return [
            "position": .count(queue.position), "length": .count(queue.length),
            "queued_at": .text(queue.entry.queuedAt),
            "reserved_node": .text(try queue.entry.reserved.map { try names.node($0) }),
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
