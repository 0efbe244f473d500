/// Counts from instances' devices what `device_quota_use` keeps: to fill it, to set it right, and to check it.
enum DeviceQuotaCount {
    static var filling: [String] { QuotaCount.kinds.map { insertion + selection(of: $0) } }

    /// What fills one subject's rows, once they were removed. The subject stands in it for `?`.
    static func filling(one kind: String) -> String { insertion + selection(of: kind, isOne: true) }

    /// Rows with the columns of `device_quota_use`, as they should be.
    static var everything: String { QuotaCount.kinds.map { selection(of: $0) }.joined(separator: " UNION ALL ") }

    private static let insertion = "INSERT INTO device_quota_use (subject_kind, subject, alias, devices) "

    private static func selection(of kind: String, isOne: Bool = false) -> String {
        let subject = kind == "user" ? "i.owner_id" : "i.account"
        return """
            SELECT '\(kind)' AS subject_kind, \(subject) AS subject, d.alias AS alias, SUM(d.devices) AS devices
            FROM instances i JOIN instance_devices d ON d.instance_id = i.id
            WHERE i.status <> 'DELETED'\(isOne ? " AND \(subject) = ?" : "") GROUP BY \(subject), d.alias
            """
    }
}
