extension RoostClient {
    public var instances: Resources<Instance> { Resources(client: self) }
    public var flavors: Resources<Flavor> { Resources(client: self) }
    public var images: Resources<Image> { Resources(client: self) }
    public var nodes: Resources<Node> { Resources(client: self) }
    public var aggregates: Resources<Aggregate> { Resources(client: self) }
    public var keyPairs: Resources<KeyPair> { Resources(client: self) }
    public var users: Resources<User> { Resources(client: self) }
    public var accounts: Resources<Account> { Resources(client: self) }
    public var groups: Resources<Group> { Resources(client: self) }
    public var roles: Resources<Role> { Resources(client: self) }
    public var apiKeys: Resources<APIKey> { Resources(client: self) }
    public var operations: Resources<OperationRecord> { Resources(client: self) }
    public var events: Events { Events(client: self) }
}
