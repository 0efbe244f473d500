import ManagerModel

/// Users and key pairs as clients see them.
enum UserResource {
    static let schema = ObjectSchema.answer(
        "User",
        [
            ("id", .identifier), ("name", .text), ("role", .choice(Role.allCases.map(\.rawValue))), ("account", .text),
            ("enabled", .boolean), ("created_at", .time), ("email", .nullable(.text)),
        ])

    static func encode(_ user: User) -> JSONValue {
        [
            "id": .text(user.id), "name": .string(user.name), "role": .string(user.role.rawValue),
            "account": .string(user.account), "enabled": .boolean(user.enabled), "created_at": .text(user.createdAt),
            "email": .text(user.email),
        ]
    }
}

enum KeyPairResource {
    static let schema = ObjectSchema.answer(
        "KeyPair",
        [
            ("id", .identifier), ("name", .text), ("type", .text), ("fingerprint", .text), ("public_key", .text),
            ("owner", .text), ("created_at", .time),
        ])

    static func encode(_ pair: KeyPair, _ names: Names) throws -> JSONValue {
        [
            "id": .text(pair.id), "name": .string(pair.name), "type": .string(pair.type),
            "fingerprint": .string(pair.fingerprint), "public_key": .string(pair.publicKey),
            "owner": .string(try names.user(pair.owner)), "created_at": .text(pair.createdAt),
        ]
    }
}

enum FlavorResource {
    static let schema = ObjectSchema.answer(
        "Flavor",
        [
            ("id", .identifier), ("name", .text), ("vcpus", .count), ("ram_mib", .count), ("disk_gib", .count),
            ("properties", .map(.text, maximum: 1000)), ("created_at", .time),
        ])

    static func encode(_ flavor: Flavor) -> JSONValue {
        [
            "id": .text(flavor.id), "name": .string(flavor.name), "vcpus": .count(flavor.vcpus),
            "ram_mib": .count(flavor.ramMiB), "disk_gib": .count(flavor.diskGiB), "properties": .map(flavor.properties),
            "created_at": .text(flavor.createdAt),
        ]
    }
}
