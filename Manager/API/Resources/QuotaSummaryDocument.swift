import ManagerModel

/// Limits beside capacity, for the operator.
enum QuotaSummaryDocument {
    private static let row = ObjectSchema(
        "QuotaSummaryRow",
        [
            .init("resource", .choice(QuotaDocument.items), required: true),
            .init("alias", .nullable(.text), required: true, "of devices"),
            .init("used", .count, required: true, "by everybody"),
            .init("limit_sum", .count, required: true, "of all accounts that have a limit"),
            .init("unlimited_accounts", .count, required: true, "accounts without a limit of it"),
            .init(
                "capacity", .nullable(.count), required: true,
                "of the enabled nodes after overcommit; null: hosts do not bound it"),
            .init("promised_beyond_capacity", .boolean, required: true, "the limits add up to more, or there are none"),
            .init("exhausted", .boolean, required: true, "nine tenths of the capacity, or more, are used"),
        ])
    private static let maximum = QuotaResource.allCases.count + DeviceRules.maximumAliases
    static let schema = ObjectSchema(
        "QuotaSummary",
        [
            .init("resources", .array(.object(row), maximum: maximum), required: true),
            .init("warnings", .array(.text, maximum: maximum), required: true, "for a person"),
        ])

    static func encode(_ summary: QuotaSummary) -> JSONValue {
        [
            "resources": .array(
                summary.rows.map { row in
                    [
                        "resource": .string(QuotaDocument.item(row.resource, alias: row.alias)),
                        "alias": .text(row.alias), "used": .count(row.used), "limit_sum": .count(row.limitSum),
                        "unlimited_accounts": .count(row.unlimitedAccounts),
                        "capacity": .count(row.capacity), "promised_beyond_capacity": .boolean(row.isPromisedBeyond),
                        "exhausted": .boolean(row.isExhausted),
                    ]
                }), "warnings": .texts(summary.warnings),
        ]
    }
}
