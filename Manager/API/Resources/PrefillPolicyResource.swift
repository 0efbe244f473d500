import ManagerLifecycle
import ManagerModel
import ManagerStore

/// Prefill policies as a superuser sees them, with which nodes still lack the image and why.
enum PrefillPolicyResource {
    static let target = ObjectSchema.answer(
        "PolicyNode",
        [
            ("node", .text), ("state", .choice(["lacking", "fetching", "paused", "failed", "removing"])),
            ("progress", .integer(0...100)), ("reason", .text),
        ])

    private static let common: [(String, Schema)] = [
        ("id", .identifier), ("name", .text), ("image", .text), ("aggregate", .nullable(.text)),
        ("enabled", .boolean), ("state", .choice(PolicyStanding.State.allCases.map(\.rawValue))), ("reason", .text),
        ("image_id", .nullable(.identifier)), ("nodes", .count), ("holding", .count), ("owner", .text),
        ("created_at", .time), ("updated_at", .time),
    ]

    /// In lists, without what is long.
    static let item = ObjectSchema.answer("PrefillPolicyItem", common)
    static let schema = ObjectSchema.answer(
        "PrefillPolicy", common + [("lacking", .array(.object(target), maximum: 1000))])

    static func item(_ policy: PrefillPolicy, _ names: Names, _ commands: Commands) throws -> JSONValue {
        .object(try members(policy, commands.standing(of: policy, listing: 0), names))
    }

    static func encode(_ policy: PrefillPolicy, _ names: Names, _ commands: Commands) throws -> JSONValue {
        let standing = try commands.standing(of: policy)
        return .object(
            try members(policy, standing, names) + [.init("lacking", .array(standing.lacking.map(encode)))])
    }

    private static func members(
        _ policy: PrefillPolicy, _ standing: PolicyStanding, _ names: Names
    ) throws -> [JSONValue.Member] {
        let value: JSONValue = [
            "id": .text(policy.id), "name": .string(policy.name), "image": .string(policy.image),
            "aggregate": try policy.aggregate.map { .string(try names.aggregate($0)) } ?? .null,
            "enabled": .boolean(policy.isEnabled), "state": .string(standing.state.rawValue),
            "reason": .string(standing.reason), "image_id": .text(standing.image?.id),
            "nodes": .count(standing.nodes), "holding": .count(standing.holding),
            "owner": .string(try names.user(policy.owner)), "created_at": .text(policy.createdAt),
            "updated_at": .text(policy.updatedAt),
        ]
        return value.members ?? []
    }

    private static func encode(_ target: PolicyTarget) -> JSONValue {
        let copy = target.copy
        let state =
            copy.map { $0.isPaused && $0.state != .removing ? "paused" : $0.state.rawValue } ?? "lacking"
        return [
            "node": .string(target.name), "state": .string(state),
            "progress": .count(copy.map { 100 * $0.chunksHeld / max(1, $0.chunksTotal) } ?? 0),
            "reason": .string(target.reason),
        ]
    }
}
