import ManagerLifecycle
import ManagerModel
import ManagerStore

/// Server groups as their owners see them.
enum ServerGroupResource {
    private static let plain: [(String, Schema)] = [
        ("id", .identifier), ("name", .text), ("policy", .choice(ServerGroup.Policy.allCases.map(\.rawValue))),
        ("max_per_host", .nullable(.count)), ("owner", .text), ("created_at", .time), ("instance_count", .count),
    ]
    static let instance = ObjectSchema.answer(
        "ServerGroupInstance",
        [
            ("id", .identifier), ("name", .text), ("node", .nullable(.text)),
            ("status", .choice(InstanceStatus.allCases.map(\.rawValue))),
        ])
    /// As it is listed.
    static let item = ObjectSchema.answer("ServerGroupItem", plain)
    static let schema = ObjectSchema.answer(
        "ServerGroup", plain + [("instances", .array(.object(instance), maximum: namedInstances))])

    /// More than these are listed by `/v1/instances?server_group=…`.
    static let namedInstances = 1000

    static func item(_ group: ServerGroup, _ names: Names, in transaction: Transaction) throws -> JSONValue {
        [
            "id": .text(group.id), "name": .string(group.name), "policy": .string(group.policy.rawValue),
            "max_per_host": .count(group.maximumPerHost), "owner": .string(try names.user(group.owner)),
            "created_at": .text(group.createdAt),
            "instance_count": .count(try transaction.serverGroups.instanceCount(in: group.id)),
        ]
    }

    static func encode(_ group: ServerGroup, in transaction: Transaction) throws -> JSONValue {
        let names = Names(transaction)
        let members = try transaction.serverGroups.instances(in: group.id, limit: namedInstances)
        let instances = try members.map { instance -> JSONValue in
            [
                "id": .text(instance.id), "name": .string(instance.name),
                "node": .text(try instance.node.map { try names.node($0) }),
                "status": .string(instance.status.rawValue),
            ]
        }
        let item = try item(group, names, in: transaction)
        return .object((item.members ?? []) + [.init("instances", .array(instances))])
    }
}
