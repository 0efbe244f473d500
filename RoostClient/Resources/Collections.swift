extension RoostClient {
    /// `/v1/instances`
    public var instances: Resources<Instance> { Resources(client: self) }
    /// `/v1/flavors`
    public var flavors: Resources<Flavor> { Resources(client: self) }
    /// `/v1/images`
    public var images: Resources<Image> { Resources(client: self) }
    /// `/v1/nodes`
    public var nodes: Resources<Node> { Resources(client: self) }
    /// `/v1/aggregates`
    public var aggregates: Resources<Aggregate> { Resources(client: self) }
    /// `/v1/devices`
    public var devices: Resources<Device> { Resources(client: self) }
    /// `/v1/device-aliases`
    public var deviceAliases: Resources<DeviceAlias> { Resources(client: self) }
    /// `/v1/device-rules`
    public var deviceRules: Resources<DeviceRule> { Resources(client: self) }
    /// `/v1/server-groups`
    public var serverGroups: Resources<ServerGroup> { Resources(client: self) }
    /// `/v1/keypairs`
    public var keyPairs: Resources<KeyPair> { Resources(client: self) }
    /// `/v1/users`
    public var users: Resources<User> { Resources(client: self) }
    /// `/v1/accounts`
    public var accounts: Resources<Account> { Resources(client: self) }
    /// `/v1/groups`
    public var groups: Resources<Group> { Resources(client: self) }
    /// `/v1/roles`
    public var roles: Resources<Role> { Resources(client: self) }
    /// `/v1/api-keys`
    public var apiKeys: Resources<APIKey> { Resources(client: self) }
    /// `/v1/registration-whitelist`
    public var whitelist: Resources<WhitelistEntry> { Resources(client: self) }
    /// `/v1/operations`
    public var operations: Resources<OperationRecord> { Resources(client: self) }
    /// `/v1/events`
    public var events: Events { Events(client: self) }
    /// Limits of users and accounts.
    public var quotas: Quotas { Quotas(client: self) }
}
