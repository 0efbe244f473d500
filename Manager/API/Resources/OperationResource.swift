import ManagerModel
import ProtocolModel

enum ReferenceResource {
    static let schema = ObjectSchema.answer("ResourceReference", [("kind", .text), ("id", .text), ("name", .text)])

    static func encode(_ reference: ResourceReference) -> JSONValue {
        ["kind": .string(reference.kind), "id": .string(reference.id), "name": .string(reference.name)]
    }
}

/// Operations as clients see them and wait for them.
enum OperationResource {
    static let step = ObjectSchema.answer(
        "OperationStep",
        [
            ("name", .text), ("status", .choice(["pending", "running", "done", "failed"])), ("detail", .text),
            ("at", .nullable(.time)),
        ])
    static let error = ObjectSchema.answer("OperationError", [("code", .text), ("detail", .text)])
    static let schema = ObjectSchema.answer(
        "Operation",
        [
            ("id", .identifier), ("kind", .choice(Operation.Kind.allCases.map(\.rawValue))),
            ("status", .choice(Operation.Status.allCases.map(\.rawValue))), ("progress", .integer(0...100)),
            ("paused", .boolean), ("steps", .array(.object(step), maximum: 10_000)),
            ("resource", .object(ReferenceResource.schema)),
            ("result", .freeObject), ("error", .nullable(.object(error))), ("created_at", .time),
            ("finished_at", .nullable(.time)), ("owner", .nullable(.text)),
        ])

    static func encode(_ operation: Operation, _ names: Names) throws -> JSONValue {
        var failure = JSONValue.null
        if let code = operation.errorCode {
            failure = ["code": .string(code), "detail": .string(operation.errorDetail ?? "")]
        }
        return [
            "id": .text(operation.id), "kind": .string(operation.kind.rawValue),
            "status": .string(operation.status.rawValue), "progress": .count(operation.progress),
            "paused": .boolean(operation.isPaused), "steps": .array(steps(operation)),
            "resource": ReferenceResource.encode(operation.resource),
            "result": result(operation), "error": failure, "created_at": .text(operation.createdAt),
            "finished_at": .text(operation.finishedAt),
            "owner": try operation.owner.map { .string(try names.user($0)) } ?? .null,
        ]
    }

    /// Steps are recorded as they begin; the last is the one that runs, or where it failed.
    private static func steps(_ operation: Operation) -> [JSONValue] {
        operation.steps.enumerated().map { index, step in
            let isLast = index == operation.steps.count - 1
            let status =
                switch operation.status {
                case .running where isLast: "running"
                case .failed where isLast, .cancelled where isLast: "failed"
                default: "done"
                }
            return [
                "name": .string(step.name), "status": .string(status), "detail": .string(step.detail),
                "at": .text(Timestamp(milliseconds: step.at)),
            ]
        }
    }

    private static func result(_ operation: Operation) -> JSONValue {
        switch operation.kind {
        case .imagePrefill: ["hosts": .array(operation.hosts.map(prefilled))]
        case .nodeDisable: ["hosts": .array(operation.hosts.map(disabled))]
        default: [:]
        }
    }

    private static func prefilled(_ host: Operation.HostResult) -> JSONValue {
        [
            "node": .string(host.node), "state": .string(host.state), "progress": .count(host.progress),
            "source": .text(host.source), "bytes": .count(host.bytes), "seconds": .decimal(host.seconds),
            "bytes_per_second": .decimal(host.rate), "reason": .string(host.detail),
        ]
    }

    private static func disabled(_ host: Operation.HostResult) -> JSONValue {
        [
            "node": .string(host.node), "ok": .boolean(host.state == "done"), "state": .string(host.state),
            "detail": .string(host.detail), "stopped": .texts(host.stopped), "forced": .texts(host.forced),
            "remaining": .texts(host.remaining),
        ]
    }
}

enum EventResource {
    static let difference = ObjectSchema.answer(
        "EventDifference", [("before", .nullable(.text)), ("after", .nullable(.text))])
    static let schema = ObjectSchema.answer(
        "Event",
        [
            ("sequence", .count), ("at", .time), ("kind", .text), ("actor", .text),
            ("actor_id", .nullable(.identifier)), ("resource", .object(ReferenceResource.schema)), ("detail", .text),
            ("data", .map(.text, maximum: 1000)), ("request_id", .nullable(.text)),
            ("operation_id", .nullable(.identifier)), ("changes", .map(.object(difference), maximum: 1000)),
            ("address", .nullable(.text)), ("credential", .nullable(.text)), ("impersonator", .nullable(.text)),
            ("outcome", .choice(Event.Outcome.allCases.map(\.rawValue))),
        ])

    static func encode(_ event: Event) -> JSONValue {
        [
            "sequence": .integer(event.sequence), "at": .text(event.at), "kind": .string(event.kind),
            "actor": .string(event.actor), "actor_id": .text(event.actorID),
            "resource": ReferenceResource.encode(event.resource), "detail": .string(event.detail),
            "data": .map(event.data), "request_id": .text(event.request), "operation_id": .text(event.operation),
            "changes": .object(
                event.changes.sorted { $0.key < $1.key }.map { field, change in
                    .init(field, ["before": .text(change.before), "after": .text(change.after)])
                }), "address": .text(event.address), "credential": .text(event.credential),
            "impersonator": .text(event.impersonator?.name), "outcome": .string(event.outcome.rawValue),
        ]
    }
}

/// Usage as users and the operator see it.
enum UsageResource {
    private static let amounts: [ObjectSchema.Field] =
        [
            "server_hours", "vcpu_hours", "ram_mib_hours", "cpu_seconds", "disk_read_bytes", "disk_write_bytes",
            "network_receive_bytes", "network_transmit_bytes",
        ].map { ObjectSchema.Field($0, .amount, required: true) } + [
            .init(
                "device_hours", .map(.amount, maximum: 10_000), required: true,
                "by alias: hours that instances ran, times the devices that they had")
        ]

    static let item = ObjectSchema(
        "UsageItem",
        [
            .init("day", .day, "with group_by=day"), .init("user", .text, required: true),
            .init("instance_id", .identifier, "with group_by=instance"), .init("instance", .nullable(.text)),
            .init("flavor", .nullable(.text)),
        ] + amounts)
    /// What a page of a report says beside its rows.
    static let report: [ObjectSchema.Field] = [
        .init("from", .day, required: true), .init("to", .day, required: true),
        .init("totals", .object(ObjectSchema("UsageTotals", amounts)), required: true, "of all pages together"),
    ]

    static func report(
        _ total: UsageAmounts, devices: [String: Int64], from: CivilDay, to: CivilDay
    ) -> [JSONValue.Member] {
        [
            .init("from", .text(from)), .init("to", .text(to)), .init("totals", .object(members(total, devices))),
        ]
    }

    static func encode(_ row: UsageRow) -> JSONValue {
        var fields: [JSONValue.Member] = []
        if let day = row.day { fields.append(.init("day", .text(day))) }
        fields.append(.init("user", .string(row.user)))
        if let instance = row.instance {
            fields.append(.init("instance_id", .text(instance)))
            fields.append(.init("instance", .text(row.instanceName)))
            fields.append(.init("flavor", .text(row.flavor)))
        }
        return .object(fields + members(row.amounts, row.devices))
    }

    private static func members(_ amounts: UsageAmounts, _ devices: [String: Int64]) -> [JSONValue.Member] {
        func hours(_ milliseconds: Int64) -> JSONValue { .number(Double(milliseconds) / 3_600_000) }
        let value: JSONValue = [
            "server_hours": hours(amounts.serverMilliseconds), "vcpu_hours": hours(amounts.vcpuMilliseconds),
            "ram_mib_hours": hours(amounts.ramMiBMilliseconds),
            "cpu_seconds": .number(Double(amounts.cpuTimeNanoseconds) / 1e9),
            "disk_read_bytes": .integer(amounts.diskReadBytes), "disk_write_bytes": .integer(amounts.diskWriteBytes),
            "network_receive_bytes": .integer(amounts.networkReceiveBytes),
            "network_transmit_bytes": .integer(amounts.networkTransmitBytes),
            "device_hours": .object(devices.sorted { $0.key < $1.key }.map { .init($0.key, hours($0.value)) }),
        ]
        return value.members ?? []
    }
}
