import ManagerModel
import ManagerStore

/// Accounts, groups and roles as clients see them.
enum AccountResource {
    static let schema = ObjectSchema.answer(
        "Account",
        [
            ("id", .identifier), ("name", .text), ("description", .text), ("owner", .nullable(.text)),
            ("owner_id", .nullable(.identifier)), ("enabled", .boolean), ("user_count", .count), ("created_at", .time),
        ])

    static func encode(_ account: Account, _ names: Names, in transaction: Transaction) throws -> JSONValue {
        [
            "id": .text(account.id), "name": .string(account.name), "description": .string(account.description),
            "owner": .text(try account.owner.map { try names.user($0) }), "owner_id": .text(account.owner),
            "enabled": .boolean(account.enabled),
            "user_count": .count(try transaction.accounts.userCount(account.name)),
            "created_at": .text(account.createdAt),
        ]
    }
}

enum GroupResource {
    static let schema = ObjectSchema.answer(
        "Group",
        [
            ("id", .identifier), ("name", .text), ("account", .text), ("description", .text),
            ("members", .array(.text, maximum: 100_000)), ("created_at", .time),
        ])

    static func encode(_ group: Group, in transaction: Transaction) throws -> JSONValue {
        [
            "id": .text(group.id), "name": .string(group.name), "account": .string(group.account),
            "description": .string(group.description),
            "members": .texts(try transaction.groups.memberNames(of: group.id)), "created_at": .text(group.createdAt),
        ]
    }
}

enum RoleResource {
    static let schema = ObjectSchema.answer(
        "Role",
        [
            ("name", .text), ("description", .text), ("built_in", .boolean),
            ("permissions", .map(.choice(["own", "account", "all"]), maximum: 1000)), ("created_at", .nullable(.time)),
        ])

    static func encode(_ role: Role) -> JSONValue {
        [
            "name": .string(role.rawValue), "description": .string(role.description), "built_in": true,
            "permissions": permissions(.builtIn(role)), "created_at": nil,
        ]
    }

    static func encode(_ role: RoleDefinition) -> JSONValue {
        [
            "name": .string(role.name), "description": .string(role.description), "built_in": false,
            "permissions": permissions(role.rights), "created_at": .text(role.createdAt),
        ]
    }

    private static func permissions(_ rights: Rights) -> JSONValue {
        .object(
            rights.granted.map { JSONValue.Member($0.key.rawValue, .string($0.value.word)) }.sorted {
                $0.name < $1.name
            })
    }
}
