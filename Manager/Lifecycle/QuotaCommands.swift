public import ManagerModel
import ManagerStore
import ProtocolModel

/// Limits of users and accounts.
extension Commands {
    /// Refuses what would break a limit of the user or of their account. To be called in the transaction that claims: counters
    /// change with the rows, and writes come one after another, so that no two requests pass on the same room.
    ///
    /// - Throws: `Refusal` `quota_exceeded`, with every limit in the way.
    func checkQuota(of owner: User, for claim: QuotaClaim) throws {
        guard
            let standing = try sql.quotas.standing(
                of: owner.id, account: owner.account, flavor: claim.flavor?.id, hasDevices: !claim.devices.isEmpty)
        else { return }
        let shortfalls =
            claim.shortfalls(
                of: .user(owner.name, account: owner.account), used: standing.user.used, limits: standing.user.limits)
            + claim.shortfalls(
                of: .account(owner.account), used: standing.account.used, limits: standing.account.limits)
        guard shortfalls.isEmpty else { throw Refusal.quotaExceeded(shortfalls) }
    }

    // MARK: Showing

    /// - Throws: `Refusal`: `not_found` where the actor may not see the user, `forbidden` where not the limits.
    public func quota(ofUser reference: String) throws -> Quota {
        let user = try user(reference)
        guard try actor.rights.allows(.quotaRead, ownership(of: user.id)) else { throw Self.hidden(user.name) }
        return try quota(of: user)
    }

    /// Users see what their account may have and has, too, since it may be in their way.
    public func quota(ofAccount reference: String) throws -> Quota {
        let account = try account(reference)
        guard actor.rights.allows(.quotaRead, ownership(of: account)) else { throw Self.hidden(account.name) }
        return try quota(of: account)
    }

    private static func hidden(_ name: String) -> Refusal {
        Refusal(.forbidden, "you may see '\(name)', but not the limits: permission quotaRead does not reach so far")
    }

    public func quota(of user: User) throws -> Quota { try quota(of: .user(user), over: .everyUser) }

    public func quota(of account: Account) throws -> Quota { try quota(of: .account(account), over: .everyAccount) }

    private func quota(of holder: Quota.Holder, over everyone: QuotaSubject) throws -> Quota {
        let own = try sql.quotas.settings(of: holder.subject)
        return Quota(
            holder: holder, settings: own, inEffect: own.inEffect(over: try sql.quotas.settings(of: everyone)),
            used: try sql.quotas.use(of: holder.subject))
    }

    public func quotaDefaults() throws -> QuotaDefaults {
        QuotaDefaults(
            users: try sql.quotas.settings(of: .everyUser), accounts: try sql.quotas.settings(of: .everyAccount))
    }

    // MARK: Changing

    /// Sets limits of a user.
    ///
    /// - Throws: `Refusal` `forbidden` where the actor may change the limits of their account's users alone, and this is not
    ///   one of them, or would get more than the account has (SEC-08).
    public func changeQuota(of user: User, _ change: QuotaChange) throws -> Quota {
        guard try actor.rights.allows(.quotaChange, ownership(of: user.id)) else {
            throw Refusal(
                .forbidden, "you may see user '\(user.name)', but not change the limits; ask the owner of the account")
        }
        let settings = try resolved(change, at: "")
        if actor.rights[.quotaChange] < .all { try checkGrant(settings, to: user) }
        try set(settings, of: .user(user.id), "user.quota_changed", ResourceReference(user), owner: user.id)
        return try quota(of: user)
    }

    public func changeQuota(of account: Account, _ change: QuotaChange) throws -> Quota {
        let settings = try resolved(change, at: "")
        try set(
            settings, of: .account(account.name), "account.quota_changed", ResourceReference(account),
            owner: account.owner)
        return try quota(of: account)
    }

    public func changeQuotaDefaults(users: QuotaChange, accounts: QuotaChange) throws -> QuotaDefaults {
        for (subject, name, change) in [
            (QuotaSubject.everyUser, "users", users), (.everyAccount, "accounts", accounts),
        ] {
            let settings = try resolved(change, at: "/\(name)")
            try set(
                settings, of: subject, "quota.defaults_changed",
                ResourceReference(kind: "quota_defaults", id: name, name: name), owner: nil)
        }
        return try quotaDefaults()
    }

    /// One limit before and after.
    private struct Setting {
        var item: QuotaItem
        /// In the event log.
        var field: String
        /// In the request.
        var pointer: String
        var maximum: Int?
    }

    /// What a change means, in a fixed order.
    private func resolved(_ change: QuotaChange, at pointer: String) throws -> [Setting] {
        var settings = QuotaResource.allCases.compactMap { resource in
            change.limits[resource].map { maximum in
                Setting(
                    item: .resource(resource), field: "limits.\(resource.rawValue)",
                    pointer: "\(pointer)/limits/\(resource.rawValue)", maximum: maximum)
            }
        }
        // All that is wrong is named, with what is wrong of the first in words.
        var faults: [(sentence: String, field: Refusal.Field)] = []
        settings += try deviceSettings(change, at: pointer, &faults)
        for (reference, maximum) in change.flavorCaps.sorted(by: { $0.key < $1.key }) {
            let place = "\(pointer)/flavor_caps/\(Self.escaped(reference))"
            let known =
                try FlavorID(reference).flatMap { try sql.flavors.find($0) } ?? sql.flavors.find(name: reference)
            guard let flavor = known else {
                faults.append(
                    (
                        "there is no flavor '\(reference)'; see 'roost flavor list'",
                        .init(pointer: place, detail: "names no flavor")
                    ))
                continue
            }
            guard !settings.contains(where: { $0.item == .instances(flavor.id) }) else {
                faults.append(
                    (
                        "flavor '\(flavor.name)' is named twice",
                        .init(pointer: place, detail: "names a flavor that is named already")
                    ))
                continue
            }
            settings.append(
                Setting(
                    item: .instances(flavor.id), field: "flavor_caps.\(flavor.name)", pointer: place, maximum: maximum))
        }
        if let first = faults.first { throw Refusal(.invalidRequest, first.sentence, fields: faults.map(\.field)) }
        return settings
    }

    /// A limit of devices is of an alias that a rule gives; one that is left from such an alias can be taken away.
    private func deviceSettings(
        _ change: QuotaChange, at pointer: String, _ faults: inout [(sentence: String, field: Refusal.Field)]
    ) throws -> [Setting] {
        guard !change.devices.isEmpty else { return [] }
        let known = DeviceRules(try sql.devices.rules()).aliasNames
        var settings: [Setting] = []
        for (alias, maximum) in change.devices.sorted(by: { $0.key < $1.key }) {
            let place = "\(pointer)/devices/\(Self.escaped(alias))"
            if maximum == nil || known.contains(alias) {
                settings.append(
                    Setting(item: .devices(alias), field: "devices.\(alias)", pointer: place, maximum: maximum))
            } else {
                faults.append(
                    (
                        "no device rule gives the alias '\(alias)'; see 'roost device alias list'",
                        .init(pointer: place, detail: "names no alias of devices")
                    ))
            }
        }
        return settings
    }

    /// As a part of a JSON pointer (RFC 6901 §3).
    private static func escaped(_ name: String) -> String {
        name.replacing("~", with: "~0").replacing("/", with: "~1")
    }

    /// Whoever manages an account alone gives its users no more than it has, and to nobody who gives limits as well.
    private func checkGrant(_ settings: [Setting], to user: User) throws {
        guard try user.id != actor.user && !sql.roles.rights(of: user.roles).may(.quotaChange) else {
            throw Refusal(
                .forbidden, "only a superuser may change the limits of '\(user.name)', who manages limits too")
        }
        let standing = try sql.accounts.find(name: user.account).map { try quota(of: $0).inEffect } ?? QuotaSettings()
        let bound = QuotaSettings.grantable(account: standing, everyUser: try sql.quotas.settings(of: .everyUser))
        let faults: [Refusal.Field] = settings.compactMap { setting in
            let most = bound[setting.item]
            guard let maximum = setting.maximum, !QuotaSettings.isLimit(maximum, within: most) else { return nil }
            return Refusal.Field(pointer: setting.pointer, detail: "must be from 0 to \(most ?? 0)")
        }
        guard faults.isEmpty else {
            throw Refusal(
                .forbidden,
                "you cannot give user '\(user.name)' more than account '\(user.account)' has; a superuser can raise the limits of the account",
                fields: faults)
        }
    }

    /// Stores limits and tells of those that differ.
    private func set(
        _ settings: [Setting], of subject: QuotaSubject, _ kind: String, _ resource: ResourceReference, owner: UserID?
    ) throws {
        let before = try sql.quotas.settings(of: subject)
        var changes: [String: Event.Difference] = [:]
        for setting in settings {
            let old = before[setting.item]
            guard old != setting.maximum else { continue }
            try sql.quotas.set(setting.maximum, setting.item, of: subject)
            changes[setting.field] = Event.Difference(
                before: old.map { "\($0)" }, after: setting.maximum.map { "\($0)" })
        }
        guard !changes.isEmpty else { return }
        try event(kind, resource, owner: owner, changes: changes)
    }
}
