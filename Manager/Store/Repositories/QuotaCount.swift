/// Counts from instances and images what `quota_use` keeps: to fill it, to set it right, and to check it.
///
/// Rows without a flavor hold all of a subject; rows of a flavor count its instances alone. An image counts for the account
/// that its owner is in now.
enum QuotaCount {
    /// What fills the empty table.
    static var filling: [String] { kinds.flatMap { kind in selections(of: kind).map { insertion + $0 } } }

    /// What fills one subject's rows, once they were removed.
    ///
    /// - Returns: statements, and how often the subject stands in each for `?`.
    static func filling(one kind: String) -> [(sql: String, places: Int)] {
        zip(selections(of: kind, isOne: true), [2, 1]).map { (insertion + $0, $1) }
    }

    /// Rows with the columns of `quota_use`, as they should be.
    static var everything: String { kinds.flatMap { selections(of: $0) }.joined(separator: " UNION ALL ") }

    static let kinds = ["user", "account"]
    static let amounts = ["instances", "vcpus", "ram_mib", "disk_gib", "gpus", "images"]

    private static let insertion =
        "INSERT INTO quota_use (subject_kind, subject, flavor_id, \(amounts.joined(separator: ", "))) "

    private static func selections(of kind: String, isOne: Bool = false) -> [String] {
        let (ofInstance, ofImage, join) =
            kind == "user"
            ? ("i.owner_id", "m.owner_id", "") : ("i.account", "u.account", " JOIN users u ON u.id = m.owner_id")
        let sums = amounts.map { "SUM(c.\($0)) AS \($0)" }.joined(separator: ", ")
        let instances = "FROM instances i WHERE i.status <> 'DELETED'" + (isOne ? " AND \(ofInstance) = ?" : "")
        let images = "FROM images m\(join) WHERE m.status <> 'deleted'" + (isOne ? " AND \(ofImage) = ?" : "")
        return [
            """
            SELECT '\(kind)' AS subject_kind, c.subject AS subject, '' AS flavor_id, \(sums) FROM (
                SELECT \(ofInstance) AS subject, 1 AS instances, i.vcpus AS vcpus, i.ram_mib AS ram_mib,
                    i.disk_gib AS disk_gib, i.gpus AS gpus, 0 AS images \(instances)
                UNION ALL
                SELECT \(ofImage) AS subject, 0 AS instances, 0 AS vcpus, 0 AS ram_mib, 0 AS disk_gib, 0 AS gpus,
                    1 AS images \(images)
            ) c GROUP BY c.subject
            """,
            """
            SELECT '\(kind)' AS subject_kind, \(ofInstance) AS subject, i.flavor_id AS flavor_id, COUNT(*) AS instances,
                0 AS vcpus, 0 AS ram_mib, 0 AS disk_gib, 0 AS gpus, 0 AS images \(instances)
            GROUP BY \(ofInstance), i.flavor_id
            """,
        ]
    }
}
