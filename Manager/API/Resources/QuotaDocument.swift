import ManagerModel

/// Limits as clients see them.
enum QuotaDocument {
    /// In a problem: one limit that is in the way.
    static let shortfall = ObjectSchema.answer(
        "LimitInTheWay",
        [
            ("kind", .choice(["account", "user"])), ("name", .text), ("account", .text),
            ("resource", .choice(QuotaResource.allCases.map(\.rawValue))), ("flavor", .nullable(.text)),
            ("limit", .count), ("used", .count), ("requested", .count),
        ])

    static func encode(_ shortfall: QuotaShortfall) -> JSONValue {
        let (kind, name, account) =
            switch shortfall.holder {
            case .account(let name): ("account", name, name)
            case .user(let name, let account): ("user", name, account)
            }
        return [
            "kind": .string(kind), "name": .string(name), "account": .string(account),
            "resource": .string(shortfall.resource.rawValue), "flavor": .text(shortfall.flavor),
            "limit": .count(shortfall.limit), "used": .count(shortfall.used), "requested": .count(shortfall.requested),
        ]
    }
}
