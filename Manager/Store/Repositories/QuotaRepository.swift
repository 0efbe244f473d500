public import ManagerModel
public import ProtocolModel

extension Transaction {
    public var quotas: QuotaRepository { QuotaRepository(sql: self) }
}

/// Limits, and counters of what is claimed. The counters change with the rows that claim, in the same transaction, so that a
/// request which compares them with limits meets every claim before it and none that was undone.
public struct QuotaRepository {
    let sql: Transaction

    // MARK: Limits

    /// What is set for one subject, or for every subject of a kind.
    public func settings(of subject: QuotaSubject) throws -> QuotaSettings {
        var settings = QuotaSettings()
        for row in try sql.remembered(
            "SELECT resource, flavor_id, maximum FROM quotas WHERE subject_kind = ? AND subject = ?", subject.kind,
            subject.name)
        {
            try settings.take(row)
        }
        for row in try sql.remembered(
            "SELECT alias, maximum FROM device_quotas WHERE subject_kind = ? AND subject = ?", subject.kind,
            subject.name)
        {
            settings.devices[try row.text("alias")] = try row.int("maximum")
        }
        return settings
    }

    /// Sets a limit; `nil` removes it.
    public func set(_ maximum: Int?, _ item: QuotaItem, of subject: QuotaSubject) throws {
        switch item {
        case .resource(let resource): try set(maximum, resource, of: subject)
        case .instances(let flavor): try set(maximum, .instances, flavor: flavor, of: subject)
        case .devices(let alias): try set(maximum, devices: alias, of: subject)
        }
    }

    private func set(_ maximum: Int?, devices alias: String, of subject: QuotaSubject) throws {
        guard let maximum else {
            try sql.execute(
                "DELETE FROM device_quotas WHERE subject_kind = ? AND subject = ? AND alias = ?", subject.kind,
                subject.name, alias)
            return
        }
        try sql.execute(
            """
            INSERT INTO device_quotas (subject_kind, subject, alias, maximum) VALUES (?, ?, ?, ?)
            ON CONFLICT (subject_kind, subject, alias) DO UPDATE SET maximum = excluded.maximum
            """, subject.kind, subject.name, alias, maximum)
    }

    /// Sets a limit; `nil` removes it.
    ///
    /// - Parameter flavor: a limit of instances of that flavor, and `resource` is `.instances`.
    public func set(
        _ maximum: Int?, _ resource: QuotaResource, flavor: FlavorID? = nil, of subject: QuotaSubject
    ) throws {
        let flavor = flavor?.description ?? ""
        guard let maximum else {
            try sql.execute(
                """
                DELETE FROM quotas WHERE subject_kind = ? AND subject = ? AND resource = ? AND flavor_id = ?
                """, subject.kind, subject.name, resource.rawValue, flavor)
            return
        }
        try sql.execute(
            """
            INSERT INTO quotas (subject_kind, subject, resource, flavor_id, maximum) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (subject_kind, subject, resource, flavor_id) DO UPDATE SET maximum = excluded.maximum
            """, subject.kind, subject.name, resource.rawValue, flavor, maximum)
    }

    /// What a claim of a user is to be compared with.
    public struct Standing: Sendable, Equatable {
        public struct Side: Sendable, Equatable {
            /// In effect.
            public var limits: QuotaSettings
            public var used: QuotaUse
        }

        public var user: Side
        public var account: Side
    }

    /// One query tells where nothing is limited, and is asked once a batch.
    ///
    /// - Parameters:
    ///   - flavor: of what is claimed, if it is instances.
    ///   - hasDevices: whether devices are claimed by their aliases; otherwise limits of them are left out.
    /// - Returns: `nil` where nothing limits the user or the account.
    public func standing(
        of user: UserID, account: String, flavor: FlavorID?, hasDevices: Bool = false
    ) throws -> Standing? {
        let rows = try sql.remembered(
            """
            SELECT subject_kind, resource, flavor_id, maximum FROM quotas
            WHERE subject_kind IN ('default_user', 'default_account') OR (subject_kind = 'user' AND subject = ?)
                OR (subject_kind = 'account' AND subject = ?)
            """, user, account)
        let deviceRows = hasDevices ? try deviceLimits(of: user, account: account) : []
        guard !rows.isEmpty || !deviceRows.isEmpty else { return nil }
        var settings: [String: QuotaSettings] = [:]
        for row in rows { try settings[try row.text("subject_kind"), default: QuotaSettings()].take(row) }
        for row in deviceRows {
            settings[try row.text("subject_kind"), default: QuotaSettings()].devices[try row.text("alias")] =
                try row.int("maximum")
        }
        func inEffect(_ kind: String) -> QuotaSettings {
            (settings[kind] ?? QuotaSettings()).inEffect(over: settings["default_\(kind)"] ?? QuotaSettings())
        }
        let limits = (user: inEffect("user"), account: inEffect("account"))
        guard !limits.user.isEmpty || !limits.account.isEmpty else { return nil }
        var used: [String: QuotaUse] = [:]
        for row in try sql.query(
            """
            SELECT * FROM quota_use WHERE subject_kind = 'user' AND subject = ? AND flavor_id IN ('', ?)
            UNION ALL SELECT * FROM quota_use WHERE subject_kind = 'account' AND subject = ? AND flavor_id IN ('', ?)
            """, user, flavor, account, flavor)
        {
            try used[try row.text("subject_kind"), default: QuotaUse()].take(row)
        }
        if !deviceRows.isEmpty {
            for row in try sql.query(
                """
                SELECT subject_kind, alias, devices FROM device_quota_use
                WHERE (subject_kind = 'user' AND subject = ?) OR (subject_kind = 'account' AND subject = ?)
                """, user, account)
            {
                try used[try row.text("subject_kind"), default: QuotaUse()].takeDevices(row)
            }
        }
        return Standing(
            user: Standing.Side(limits: limits.user, used: used["user"] ?? QuotaUse()),
            account: Standing.Side(limits: limits.account, used: used["account"] ?? QuotaUse()))
    }

    private func deviceLimits(of user: UserID, account: String) throws -> [SQLRow] {
        try sql.remembered(
            """
            SELECT subject_kind, alias, maximum FROM device_quotas
            WHERE subject_kind IN ('default_user', 'default_account') OR (subject_kind = 'user' AND subject = ?)
                OR (subject_kind = 'account' AND subject = ?)
            """, user, account)
    }

    // MARK: Use

    public func use(of subject: QuotaSubject) throws -> QuotaUse {
        var use = QuotaUse()
        for row in try sql.query(
            "SELECT * FROM quota_use WHERE subject_kind = ? AND subject = ?", subject.kind, subject.name)
        {
            try use.take(row)
        }
        for row in try sql.query(
            "SELECT alias, devices FROM device_quota_use WHERE subject_kind = ? AND subject = ?", subject.kind,
            subject.name)
        {
            try use.takeDevices(row)
        }
        return use
    }

    /// How many devices all accounts have together, by alias.
    public func totalDevices() throws -> [String: Int] {
        var use = QuotaUse()
        for row in try sql.query(
            "SELECT alias, SUM(devices) AS devices FROM device_quota_use WHERE subject_kind = 'account' GROUP BY alias")
        {
            try use.takeDevices(row)
        }
        return use.devices
    }

    /// What all accounts have together.
    public func totalUse() throws -> QuotaAmounts {
        let sums = QuotaCount.amounts.map { "COALESCE(SUM(\($0)), 0) AS \($0)" }.joined(separator: ", ")
        var use = QuotaUse()
        try use.take(
            try sql.query(
                "SELECT '' AS flavor_id, \(sums) FROM quota_use WHERE subject_kind = 'account' AND flavor_id = ''")[0])
        return use.amounts
    }

    /// Counts what an instance has, or gives it back: once for its user, once for its account, and for both by flavor.
    func count(_ instance: Instance, by sign: Int) throws {
        let all = [sign, sign * instance.vcpus, sign * instance.ramMiB, sign * instance.diskGiB, sign * instance.gpus]
        // One statement, since each would be a round trip to a server.
        try sql.execute(
            """
            INSERT INTO quota_use (subject_kind, subject, flavor_id, instances, vcpus, ram_mib, disk_gib, gpus)
            VALUES ('user', ?, '', ?, ?, ?, ?, ?), ('account', ?, '', ?, ?, ?, ?, ?),
                ('user', ?, ?, ?, 0, 0, 0, 0), ('account', ?, ?, ?, 0, 0, 0, 0)
            ON CONFLICT (subject_kind, subject, flavor_id) DO UPDATE SET instances = instances + excluded.instances,
                vcpus = vcpus + excluded.vcpus, ram_mib = ram_mib + excluded.ram_mib,
                disk_gib = disk_gib + excluded.disk_gib, gpus = gpus + excluded.gpus
            """,
            instance.owner, all[0], all[1], all[2], all[3], all[4], instance.account, all[0], all[1], all[2], all[3],
            all[4], instance.owner, instance.flavor, sign, instance.account, instance.flavor, sign)
        for wish in instance.devices {
            try sql.execute(
                """
                INSERT INTO device_quota_use (subject_kind, subject, alias, devices)
                VALUES ('user', ?, ?, ?), ('account', ?, ?, ?)
                ON CONFLICT (subject_kind, subject, alias) DO UPDATE SET devices = devices + excluded.devices
                """, instance.owner, wish.alias, sign * wish.count, instance.account, wish.alias, sign * wish.count)
        }
    }

    /// Counts an image for its owner and for the account that they are in.
    func count(_ image: Image, by sign: Int) throws {
        let account = try sql.users.find(image.owner)?.account
        for subject in [QuotaSubject.user(image.owner)] + (account.map { [.account($0)] } ?? []) {
            try sql.execute(
                """
                INSERT INTO quota_use (subject_kind, subject, flavor_id, images) VALUES (?, ?, '', ?)
                ON CONFLICT (subject_kind, subject, flavor_id) DO UPDATE SET images = images + excluded.images
                """, subject.kind, subject.name, sign)
        }
    }

    /// Counts anew what a user or an account has: to be called once rows have changed hands, with everybody concerned.
    public func recount(_ subjects: [QuotaSubject]) throws {
        for subject in subjects {
            try sql.execute(
                "DELETE FROM quota_use WHERE subject_kind = ? AND subject = ?", subject.kind, subject.name)
            for filling in QuotaCount.filling(one: subject.kind) {
                if filling.places == 2 {
                    try sql.execute(filling.sql, subject.name, subject.name)
                } else {
                    try sql.execute(filling.sql, subject.name)
                }
            }
            try sql.execute(
                "DELETE FROM device_quota_use WHERE subject_kind = ? AND subject = ?", subject.kind, subject.name)
            try sql.execute(DeviceQuotaCount.filling(one: subject.kind), subject.name)
        }
    }

    /// Counts everything anew.
    public func recountAll() throws {
        try sql.execute("DELETE FROM quota_use")
        try sql.execute("DELETE FROM device_quota_use")
        for statement in QuotaCount.filling + DeviceQuotaCount.filling { try sql.execute(statement) }
    }

    // MARK: What goes

    /// Whoever has the name next begins without limits.
    public func remove(_ subject: QuotaSubject) throws {
        for table in ["quotas", "quota_use", "device_quotas", "device_quota_use"] {
            try sql.execute(
                "DELETE FROM \(table) WHERE subject_kind = ? AND subject = ?", subject.kind, subject.name)
        }
    }

    func remove(_ flavor: FlavorID) throws {
        for table in ["quotas", "quota_use"] { try sql.execute("DELETE FROM \(table) WHERE flavor_id = ?", flavor) }
    }
}

extension QuotaSubject {
    /// As stored.
    var kind: String {
        switch self {
        case .account: "account"
        case .user: "user"
        case .everyAccount: "default_account"
        case .everyUser: "default_user"
        }
    }

    var name: String {
        switch self {
        case .account(let name): name
        case .user(let id): id.description
        case .everyAccount, .everyUser: ""
        }
    }
}

extension QuotaSettings {
    fileprivate mutating func take(_ row: SQLRow) throws {
        let maximum = try row.int("maximum")
        if try row.text("flavor_id").isEmpty {
            limits[try row.choice("resource")] = maximum
        } else {
            flavorCaps[try row.id("flavor_id")] = maximum
        }
    }
}

extension QuotaUse {
    fileprivate mutating func takeDevices(_ row: SQLRow) throws {
        let count = try row.int("devices")
        if count != 0 { devices[try row.text("alias")] = count }
    }

    fileprivate mutating func take(_ row: SQLRow) throws {
        guard try row.text("flavor_id").isEmpty else {
            let count = try row.int("instances")
            if count != 0 { flavors[try row.id("flavor_id")] = count }
            return
        }
        amounts.instances = try row.int("instances")
        amounts.vcpus = try row.int("vcpus")
        amounts.ramMiB = try row.int("ram_mib")
        amounts.diskGiB = try row.int("disk_gib")
        amounts.gpus = try row.int("gpus")
        amounts.images = try row.int("images")
    }
}
