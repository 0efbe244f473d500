/// How much a user or an account may have, and how much they do. Keys are `instances`, `vcpus`, `ram_mib` and so on.
public struct Quota: Codable, Sendable, Equatable {
    /// `user` or `account`.
    public var kind: String
    /// Never given to another.
    public var id: String
    /// As people call it.
    public var name: String
    /// By name.
    public var account: String
    /// Set for this one; `nil`: as for everybody; -1: none, whatever holds for everybody.
    public var limits: [String: Int?]
    /// The same for instances of a flavor.
    public var flavorCaps: [String: Int]
    /// The same for devices by an alias.
    public var devices: [String: Int]
    /// What holds; `nil`: no limit.
    public var effectiveLimits: [String: Int?]
    /// What holds.
    public var effectiveFlavorCaps: [String: Int]
    /// What holds.
    public var effectiveDevices: [String: Int]
    /// Claimed, whether it runs or not.
    public var used: [String: Int]
    /// Instances of each flavor.
    public var usedFlavors: [String: Int]
    /// Devices by each alias.
    public var usedDevices: [String: Int]

    enum CodingKeys: String, CodingKey {
        case kind, id, name, account, limits, flavorCaps = "flavor_caps", devices, effectiveLimits = "effective_limits",
            effectiveFlavorCaps = "effective_flavor_caps", effectiveDevices = "effective_devices", used,
            usedFlavors = "used_flavors", usedDevices = "used_devices"
    }
}

extension Quota {
    /// What is to be different; `nil` takes a limit away, -1 is none whatever holds for everybody.
    public struct Change: Encodable, Sendable {
        /// By resource.
        public var limits: [String: Int?]?
        /// By flavor.
        public var flavorCaps: [String: Int?]?
        /// Of devices, by alias.
        public var devices: [String: Int?]?

        enum CodingKeys: String, CodingKey {
            case limits, flavorCaps = "flavor_caps", devices
        }

        /// What is left out is left to the site, or as it is.
        public init(
            limits: [String: Int?]? = nil, flavorCaps: [String: Int?]? = nil, devices: [String: Int?]? = nil
        ) {
            self.devices = devices
            self.limits = limits
            self.flavorCaps = flavorCaps
        }
    }
}

/// Limits of users and accounts.
public struct Quotas: Sendable {
    let client: RoostClient

    /// Of a user; `me` is the caller.
    public func show(user reference: String) async throws -> Quota {
        try Coding.decode(try await client.send(Request(.get, try Address.path("users", reference, "quota"))))
    }

    /// Of an account: all of its users together.
    public func show(account reference: String) async throws -> Quota {
        try Coding.decode(try await client.send(Request(.get, try Address.path("accounts", reference, "quota"))))
    }

    /// For who may set a user's limits.
    public func change(user reference: String, _ change: Quota.Change) async throws -> Quota {
        try await send(try Address.path("users", reference, "quota"), change)
    }

    /// For operators.
    public func change(account reference: String, _ change: Quota.Change) async throws -> Quota {
        try await send(try Address.path("accounts", reference, "quota"), change)
    }

    /// Of all accounts, or all users, as far as the caller may see them.
    public func list(ofUsers: Bool = false) -> Listing<Quota> {
        Listing(client, "/v1/quotas", ["kind": ofUsers ? "user" : "account"]) { try Coding.page($0) }
    }

    private func send(_ path: String, _ change: Quota.Change) async throws -> Quota {
        try Coding.decode(try await client.send(Request(.patch, path, body: try Coding.encode(change))))
    }
}
