import ManagerModel
import ProtocolModel

/// Limits as clients see them.
enum QuotaDocument {
    private static let resources = QuotaResource.allCases.map(\.rawValue)
    /// What a limit may be of, where it is not said beside which.
    static let items = resources + ["devices"]

    static func item(_ resource: QuotaResource, alias: String?) -> String {
        alias == nil ? resource.rawValue : "devices"
    }

    /// A request may take away a limit that holds for everybody, or set none at all.
    private static let maximum = Schema.nullable(.integer(-1...1_000_000_000_000))
    private static let limits = ObjectSchema.answer(
        "Limits", resources.map { ($0, Schema.nullable(.integer(-1...Int64.max))) })
    private static let amounts = ObjectSchema.answer("Amounts", resources.map { ($0, Schema.count) })
    private static let flavors = Schema.map(.integer(-1...Int64.max), maximum: 10_000)
    private static let aliases = Schema.map(.integer(-1...Int64.max), maximum: 10_000)

    // MARK: A user's or an account's

    static let schema = ObjectSchema(
        "Quota",
        [
            .init("kind", .choice(["account", "user"]), required: true), .init("id", .identifier, required: true),
            .init("name", .text, required: true), .init("account", .text, required: true),
            .init(
                "limits", .object(limits), required: true,
                "set for this one; null: as for everybody of the kind; -1: none, whatever holds for everybody"),
            .init("flavor_caps", flavors, required: true, "the same for instances of a flavor"),
            .init("devices", aliases, required: true, "the same for devices by an alias"),
            .init("effective_limits", .object(limits), required: true, "what holds; null: no limit"),
            .init("effective_flavor_caps", flavors, required: true),
            .init("effective_devices", aliases, required: true),
            .init("used", .object(amounts), required: true, "claimed, whether it runs or not"),
            .init("used_flavors", flavors, required: true, "instances of each flavor"),
            .init("used_devices", aliases, required: true, "devices by each alias"),
        ])

    static func encode(_ quota: Quota, _ names: Names) throws -> JSONValue {
        let (kind, id, name, account) =
            switch quota.holder {
            case .account(let account): ("account", account.id.description, account.name, account.name)
            case .user(let user): ("user", user.id.description, user.name, user.account)
            }
        return [
            "kind": .string(kind), "id": .string(id), "name": .string(name), "account": .string(account),
            "limits": encode(quota.settings.limits),
            "flavor_caps": try encode(quota.settings.flavorCaps, names),
            "devices": encode(quota.settings.devices), "effective_limits": encode(quota.inEffect.limits),
            "effective_flavor_caps": try encode(quota.inEffect.flavorCaps, names),
            "effective_devices": encode(quota.inEffect.devices),
            "used": .object(QuotaResource.allCases.map { .init($0.rawValue, .count(quota.used.amounts[$0])) }),
            "used_flavors": try encode(quota.used.flavors, names), "used_devices": encode(quota.used.devices),
        ]
    }

    private static func encode(_ limits: [QuotaResource: Int]) -> JSONValue {
        .object(QuotaResource.allCases.map { .init($0.rawValue, .count(limits[$0])) })
    }

    private static func encode(_ devices: [String: Int]) -> JSONValue {
        .object(devices.sorted { $0.key < $1.key }.map { JSONValue.Member($0.key, .count($0.value)) })
    }

    private static func encode(_ flavors: [FlavorID: Int], _ names: Names) throws -> JSONValue {
        .object(
            try flavors.map { JSONValue.Member(try names.flavor($0.key), .count($0.value)) }
                .sorted { $0.name < $1.name })
    }

    // MARK: Everybody's

    private static let settings = ObjectSchema.answer(
        "LimitsForAll", [("limits", .object(limits)), ("flavor_caps", flavors), ("devices", aliases)])
    static let defaults = ObjectSchema.answer(
        "QuotaDefaults", [("users", .object(settings)), ("accounts", .object(settings))])

    static func encode(_ defaults: QuotaDefaults, _ names: Names) throws -> JSONValue {
        func encode(_ settings: QuotaSettings) throws -> JSONValue {
            [
                "limits": Self.encode(settings.limits), "flavor_caps": try Self.encode(settings.flavorCaps, names),
                "devices": Self.encode(settings.devices),
            ]
        }
        return ["users": try encode(defaults.users), "accounts": try encode(defaults.accounts)]
    }

    // MARK: Changes

    private static let changes: [ObjectSchema.Field] = [
        .init(
            "limits", .object(ObjectSchema("LimitsChange", resources.map { .init($0, maximum) })),
            "null removes a limit, so that the one for everybody holds; -1: none"),
        .init("flavor_caps", .map(maximum, maximum: 1000), "by name or ID of a flavor"),
        .init("devices", .map(maximum, maximum: 1000), "by alias"),
    ]
    static let change = ObjectSchema("QuotaChange", changes)
    static let defaultsChange = ObjectSchema(
        "QuotaDefaultsChange",
        ["users", "accounts"].map { .init($0, .object(ObjectSchema("LimitsForAllChange", changes))) })

    static func change(_ body: JSONValue?) -> QuotaChange {
        var change = QuotaChange()
        for member in body?["limits"]?.members ?? [] {
            guard let resource = QuotaResource(rawValue: member.name) else { continue }
            change.limits[resource] = .some(count(member.value))
        }
        for member in body?["flavor_caps"]?.members ?? [] {
            change.flavorCaps[member.name] = .some(count(member.value))
        }
        for member in body?["devices"]?.members ?? [] { change.devices[member.name] = .some(count(member.value)) }
        return change
    }

    /// `2.0` is a whole number in JSON, too.
    private static func count(_ value: JSONValue) -> Int? {
        value.integer.map { Int($0) } ?? value.number.map { Int($0) }
    }

    // MARK: In a problem

    /// One limit that is in the way.
    static let shortfall = ObjectSchema.answer(
        "LimitInTheWay",
        [
            ("kind", .choice(["account", "user"])), ("name", .text), ("account", .text),
            ("resource", .choice(items)),
            ("flavor", .nullable(.text)), ("alias", .nullable(.text)), ("limit", .count), ("used", .count),
            ("requested", .count),
        ])

    static func encode(_ shortfall: QuotaShortfall) -> JSONValue {
        let (kind, name, account) =
            switch shortfall.holder {
            case .account(let name): ("account", name, name)
            case .user(let name, let account): ("user", name, account)
            }
        return [
            "kind": .string(kind), "name": .string(name), "account": .string(account),
            "resource": .string(item(shortfall.resource, alias: shortfall.alias)), "flavor": .text(shortfall.flavor),
            "alias": .text(shortfall.alias),
            "limit": .count(shortfall.limit), "used": .count(shortfall.used), "requested": .count(shortfall.requested),
        ]
    }
}
