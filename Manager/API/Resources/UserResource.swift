import ManagerModel

/// Users and key pairs as clients see them.
enum UserResource {
    static let schema = ObjectSchema.answer(
        "User",
        [
            ("id", .identifier), ("name", .text), ("full_name", .text), ("role", .text),
            ("roles", .array(.text, maximum: 16)), ("account", .text), ("enabled", .boolean), ("created_at", .time),
            ("email", .nullable(.text)), ("unix_name", .nullable(.text)),
            ("source", .choice(User.Source.allCases.map(\.rawValue))), ("must_change_password", .boolean),
            ("last_sign_in_at", .nullable(.time)),
        ])

    static func encode(_ user: User) -> JSONValue {
        [
            "id": .text(user.id), "name": .string(user.name), "full_name": .string(user.fullName),
            "role": .string(user.roles.first ?? ""), "roles": .texts(user.roles), "account": .string(user.account),
            "enabled": .boolean(user.enabled), "created_at": .text(user.createdAt), "email": .text(user.email),
            "unix_name": .text(user.unixName), "source": .string(user.source.rawValue),
            "must_change_password": .boolean(user.mustChangePassword), "last_sign_in_at": .text(user.lastSignInAt),
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

    /// As it is answered once, when it was made.
    static let created = ObjectSchema(
        "KeyPairCreated",
        schema.fields + [
            .init("private_key", .text, "of a pair that was made here, in OpenSSH's format; shown only now")
        ])

    static func encode(_ pair: KeyPair, _ names: Names, privateKey: String?) throws -> JSONValue {
        let secret = privateKey.map { [JSONValue.Member("private_key", .string($0))] } ?? []
        return .object((try encode(pair, names).members ?? []) + secret)
    }

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
