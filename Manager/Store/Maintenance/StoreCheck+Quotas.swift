extension StoreCheck {
    /// Of counters that are wrong, which `StoreMaintenance.recountQuotas` sets right.
    public static let quotaKind = "quota"

    /// What is counted against limits is what there is.
    mutating func quotas() throws {
        let counted = try counts("SELECT * FROM quota_use")
        let found = try counts(QuotaCount.everything)
        for key in Set(counted.keys).union(found.keys).sorted() {
            for (index, amount) in QuotaCount.amounts.enumerated() {
                let (kept, real) = (counted[key]?[index] ?? 0, found[key]?[index] ?? 0)
                guard kept != real else { continue }
                find(Self.quotaKind, key, "it counts \(kept) for \(amount), and there are \(real)")
            }
        }
        let (countedDevices, foundDevices) = (
            try deviceCounts("SELECT * FROM device_quota_use"), try deviceCounts(DeviceQuotaCount.everything)
        )
        for key in Set(countedDevices.keys).union(foundDevices.keys).sorted() {
            let (kept, real) = (countedDevices[key] ?? 0, foundDevices[key] ?? 0)
            if kept != real { find(Self.quotaKind, key, "it counts \(kept) devices, and there are \(real)") }
        }
        for row in try sql.query(
            """
            SELECT q.subject AS subject FROM device_quotas q LEFT JOIN users u ON u.id = q.subject
            WHERE q.subject_kind = 'user' AND u.id IS NULL
            UNION SELECT q.subject AS subject FROM quotas q LEFT JOIN users u ON u.id = q.subject
            WHERE q.subject_kind = 'user' AND u.id IS NULL
            UNION SELECT q.subject AS subject FROM quotas q LEFT JOIN flavors f ON f.id = q.flavor_id
            WHERE q.flavor_id <> '' AND f.id IS NULL
            """)
        {
            find("orphan", "quotas of \(try row.text("subject"))", "the user or the flavor of a limit is not there")
        }
    }

    /// Devices by a row's key, in words.
    private func deviceCounts(_ query: String) throws -> [String: Int64] {
        var counts: [String: Int64] = [:]
        for row in try sql.query(query) {
            let key = "\(try row.text("subject_kind")) \(try row.text("subject")), devices '\(try row.text("alias"))'"
            counts[key] = try row.integer("devices")
        }
        return counts
    }

    /// Amounts by a row's key, in words.
    private func counts(_ query: String) throws -> [String: [Int64]] {
        var counts: [String: [Int64]] = [:]
        for row in try sql.query(query) {
            let flavor = try row.text("flavor_id")
            let key =
                "\(try row.text("subject_kind")) \(try row.text("subject"))"
                + (flavor.isEmpty ? "" : ", flavor \(flavor)")
            counts[key] = try QuotaCount.amounts.map { try row.integer($0) }
        }
        return counts
    }
}
