public import ProtocolModel

/// What may be limited. Whatever is claimed of it counts until it is given back, whether it runs or not.
public enum QuotaResource: String, Sendable, CaseIterable {
    case instances, vcpus
    case ramMiB = "ram_mib"
    case diskGiB = "disk_gib"
    case gpus, images
    /// Nothing claims these yet.
    case volumes
    case floatingIPs = "floating_ips"

    /// As a sentence says it: `4 vCPUs`, `2048 MiB of RAM`.
    var unit: String {
        switch self {
        case .instances: "instances"
        case .vcpus: "vCPUs"
        case .ramMiB: "MiB of RAM"
        case .diskGiB: "GiB of disk"
        case .gpus: "GPUs"
        case .images: "images"
        case .volumes: "volumes"
        case .floatingIPs: "floating addresses"
        }
    }
}

/// How much of each resource.
public struct QuotaAmounts: Sendable, Equatable {
    public var instances = 0
    public var vcpus = 0
    public var ramMiB = 0
    public var diskGiB = 0
    public var gpus = 0
    public var images = 0
    public var volumes = 0
    public var floatingIPs = 0

    public init() {}

    public subscript(resource: QuotaResource) -> Int {
        get { self[keyPath: Self.path(resource)] }
        set { self[keyPath: Self.path(resource)] = newValue }
    }

    private static func path(_ resource: QuotaResource) -> WritableKeyPath<QuotaAmounts, Int> {
        switch resource {
        case .instances: \.instances
        case .vcpus: \.vcpus
        case .ramMiB: \.ramMiB
        case .diskGiB: \.diskGiB
        case .gpus: \.gpus
        case .images: \.images
        case .volumes: \.volumes
        case .floatingIPs: \.floatingIPs
        }
    }
}

/// Whose limits.
public enum QuotaSubject: Sendable, Hashable {
    /// All users of an account together.
    case account(String)
    case user(UserID)
    /// Each account that has no limit of its own.
    case everyAccount
    /// Each user who has no limit of their own.
    case everyUser
}

/// The limits that are set for one subject.
public struct QuotaSettings: Sendable, Equatable {
    /// No limit, also where there is one for every subject of the kind.
    public static let unlimited = -1

    public var limits: [QuotaResource: Int]
    /// How many instances of a flavor (CTL-43).
    public var flavorCaps: [FlavorID: Int]
    /// How many devices by one of the site's aliases.
    public var devices: [String: Int]

    public init(
        limits: [QuotaResource: Int] = [:], flavorCaps: [FlavorID: Int] = [:], devices: [String: Int] = [:]
    ) {
        self.limits = limits
        self.flavorCaps = flavorCaps
        self.devices = devices
    }

    public var isEmpty: Bool { limits.isEmpty && flavorCaps.isEmpty && devices.isEmpty }

    public subscript(item: QuotaItem) -> Int? {
        switch item {
        case .resource(let resource): limits[resource]
        case .instances(let flavor): flavorCaps[flavor]
        case .devices(let alias): devices[alias]
        }
    }

    /// What holds for a subject with these settings, where `defaults` are those of every subject of its kind: without what is
    /// unlimited.
    public func inEffect(over defaults: QuotaSettings) -> QuotaSettings {
        QuotaSettings(
            limits: defaults.limits.merging(limits) { $1 }.filter { $0.value >= 0 },
            flavorCaps: defaults.flavorCaps.merging(flavorCaps) { $1 }.filter { $0.value >= 0 },
            devices: defaults.devices.merging(devices) { $1 }.filter { $0.value >= 0 })
    }
}

/// One thing that a limit may be of.
public enum QuotaItem: Sendable, Hashable {
    case resource(QuotaResource)
    /// Instances of a flavor.
    case instances(FlavorID)
    /// Devices by an alias.
    case devices(String)
}

/// What a subject has claimed.
public struct QuotaUse: Sendable, Equatable {
    public var amounts: QuotaAmounts
    /// Instances of each flavor.
    public var flavors: [FlavorID: Int]
    /// Devices by each alias.
    public var devices: [String: Int]

    public init(
        amounts: QuotaAmounts = QuotaAmounts(), flavors: [FlavorID: Int] = [:], devices: [String: Int] = [:]
    ) {
        self.amounts = amounts
        self.flavors = flavors
        self.devices = devices
    }
}

/// The limits of one user or account, and what is used of them.
public struct Quota: Sendable, Equatable {
    public enum Holder: Sendable, Equatable {
        case account(Account)
        case user(User)

        public var subject: QuotaSubject {
            switch self {
            case .account(let account): .account(account.name)
            case .user(let user): .user(user.id)
            }
        }
    }

    public var holder: Holder
    /// Set for this one.
    public var settings: QuotaSettings
    /// What holds, with what is set for all of the kind.
    public var inEffect: QuotaSettings
    public var used: QuotaUse

    public init(holder: Holder, settings: QuotaSettings, inEffect: QuotaSettings, used: QuotaUse) {
        self.holder = holder
        self.settings = settings
        self.inEffect = inEffect
        self.used = used
    }
}

/// What is set for every user and for every account.
public struct QuotaDefaults: Sendable, Equatable {
    public var users: QuotaSettings
    public var accounts: QuotaSettings

    public init(users: QuotaSettings, accounts: QuotaSettings) {
        self.users = users
        self.accounts = accounts
    }
}

/// Limits to set; the inner `nil` removes one.
public struct QuotaChange: Sendable, Equatable {
    public var limits: [QuotaResource: Int?]
    /// By name or ID of the flavor.
    public var flavorCaps: [String: Int?]
    /// By alias.
    public var devices: [String: Int?]

    public init(
        limits: [QuotaResource: Int?] = [:], flavorCaps: [String: Int?] = [:], devices: [String: Int?] = [:]
    ) {
        self.limits = limits
        self.flavorCaps = flavorCaps
        self.devices = devices
    }
}

extension QuotaSettings {
    /// What may be given to a user of an account by whoever manages the account and no more: as much as the account has, or,
    /// where it has no limit, as every user has (SEC-08).
    public static func grantable(account: QuotaSettings, everyUser: QuotaSettings) -> QuotaSettings {
        account.inEffect(over: everyUser)
    }

    /// Whether nothing here goes beyond `bound`, in which what has no limit is absent.
    public func isWithin(_ bound: QuotaSettings) -> Bool {
        limits.allSatisfy { Self.isLimit($0.value, within: bound.limits[$0.key]) }
            && flavorCaps.allSatisfy { Self.isLimit($0.value, within: bound.flavorCaps[$0.key]) }
            && devices.allSatisfy { Self.isLimit($0.value, within: bound.devices[$0.key]) }
    }

    public static func isLimit(_ limit: Int, within bound: Int?) -> Bool {
        guard let bound else { return true }
        return limit >= 0 && limit <= bound
    }
}

/// What a request would add to somebody's use.
public struct QuotaClaim: Sendable, Equatable {
    public var amounts: QuotaAmounts
    /// Of the instances among it.
    public var flavor: Flavor?
    /// Devices by each alias.
    public var devices: [String: Int] = [:]

    public static func instances(_ count: Int, of flavor: Flavor) -> QuotaClaim {
        var amounts = QuotaAmounts()
        amounts.instances = count
        amounts.vcpus = count * flavor.vcpus
        amounts.ramMiB = count * flavor.ramMiB
        amounts.diskGiB = count * flavor.diskGiB
        amounts.gpus = count * flavor.gpus
        var claim = QuotaClaim(amounts: amounts, flavor: flavor)
        for wish in flavor.devices { claim.devices[wish.alias, default: 0] += count * wish.count }
        return claim
    }

    public static let image: QuotaClaim = {
        var amounts = QuotaAmounts()
        amounts.images = 1
        return QuotaClaim(amounts: amounts)
    }()

    init(amounts: QuotaAmounts, flavor: Flavor? = nil) {
        self.amounts = amounts
        self.flavor = flavor
    }

    /// Every limit that this would break. What it claims nothing of does not matter, also where use is above a limit that was
    /// lowered since.
    public func shortfalls(
        of holder: QuotaShortfall.Holder, used: QuotaUse, limits: QuotaSettings
    ) -> [QuotaShortfall] {
        guard !limits.isEmpty else { return [] }
        var found: [QuotaShortfall] = []
        for resource in QuotaResource.allCases {
            guard let limit = limits.limits[resource], amounts[resource] > 0,
                used.amounts[resource] > limit - amounts[resource]
            else { continue }
            found.append(
                QuotaShortfall(
                    holder: holder, resource: resource, limit: limit, used: used.amounts[resource],
                    requested: amounts[resource]))
        }
        if let flavor, let limit = limits.flavorCaps[flavor.id] {
            let used = used.flavors[flavor.id] ?? 0
            if used > limit - amounts.instances {
                found.append(
                    QuotaShortfall(
                        holder: holder, resource: .instances, flavor: flavor.name, limit: limit, used: used,
                        requested: amounts.instances))
            }
        }
        for (alias, wanted) in devices.sorted(by: { $0.key < $1.key }) {
            guard let limit = limits.devices[alias], case let used = used.devices[alias] ?? 0, used > limit - wanted
            else { continue }
            found.append(
                QuotaShortfall(
                    holder: holder, resource: .gpus, alias: alias, limit: limit, used: used, requested: wanted))
        }
        return found
    }
}

/// One limit that stands in the way of a request.
public struct QuotaShortfall: Sendable, Equatable {
    /// Whose limit it is.
    public enum Holder: Sendable, Equatable {
        case account(String)
        /// A user of an account.
        case user(String, account: String)
    }

    public var holder: Holder
    public var resource: QuotaResource
    /// Where the limit is one of instances of a flavor.
    public var flavor: String?
    /// Where the limit is one of devices by an alias, whatever they are.
    public var alias: String?
    public var limit: Int
    public var used: Int
    public var requested: Int

    public init(
        holder: Holder, resource: QuotaResource, flavor: String? = nil, alias: String? = nil, limit: Int, used: Int,
        requested: Int
    ) {
        self.holder = holder
        self.resource = resource
        self.flavor = flavor
        self.alias = alias
        self.limit = limit
        self.used = used
        self.requested = requested
    }

    var sentence: String {
        let who =
            switch holder {
            case .account(let name): "account '\(name)'"
            case .user(let name, _): "user '\(name)'"
            }
        let what =
            flavor.map { "instances of flavor '\($0)'" } ?? alias.map { "devices '\($0)'" } ?? resource.unit
        return "\(who) may have \(limit) \(what), has \(used), and would need \(requested) more"
    }

    /// Who may give more.
    var raisedBy: String {
        switch holder {
        case .account(let name): "a superuser can raise the limit of account '\(name)'"
        case .user(let name, let account):
            "the owner of account '\(account)' or a superuser can raise the limit of user '\(name)'"
        }
    }
}

extension Refusal {
    /// A request that would break limits.
    public static func quotaExceeded(_ shortfalls: [QuotaShortfall]) -> Refusal {
        var ways: [String] = []
        for shortfall in shortfalls where !ways.contains(shortfall.raisedBy) { ways.append(shortfall.raisedBy) }
        return Refusal(
            .quotaExceeded,
            (shortfalls.map(\.sentence) + ["delete what is not needed, or ask: \(ways.joined(separator: "; "))"])
                .joined(separator: "; "), shortfalls: shortfalls)
    }
}
