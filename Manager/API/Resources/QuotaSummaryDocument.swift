import ManagerModel

/// Limits beside capacity, for the operator.
enum QuotaSummaryDocument {
    private static let row = ObjectSchema(
        "QuotaSummaryRow",
        [
            .init("resource", .choice(QuotaResource.allCases.map(\.rawValue)), required: true),
            .init("used", .count, required: true, "by everybody"),
            .init("limit_sum", .count, required: true, "of all accounts that have a limit"),
            .init("unlimited_accounts", .count, required: true, "accounts without a limit of it"),
            .init(
                "capacity", .nullable(.count), required: true,
                "of the enabled nodes after overcommit; null: hosts do not bound it"),
            .init("promised_beyond_capacity", .boolean, required: true, "the limits add up to more, or there are none"),
            .init("exhausted", .boolean, required: true, "nine tenths of the capacity, or more, are used"),
        ])
    static let schema = ObjectSchema(
        "QuotaSummary",
        [
            .init("resources", .array(.object(row), maximum: QuotaResource.allCases.count), required: true),
            .init("warnings", .array(.text, maximum: QuotaResource.allCases.count), required: true, "for a person"),
        ])

    static func encode(_ summary: QuotaSummary) -> JSONValue {
        [
            "resources": .array(
                summary.rows.map { row in
                    [
                        "resource": .string(row.resource.rawValue), "used": .count(row.used),
                        "limit_sum": .count(row.limitSum), "unlimited_accounts": .count(row.unlimitedAccounts),
                        "capacity": .count(row.capacity), "promised_beyond_capacity": .boolean(row.isPromisedBeyond),
                        "exhausted": .boolean(row.isExhausted),
                    ]
                }), "warnings": .texts(summary.warnings),
        ]
    }
}
