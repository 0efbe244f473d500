import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

/// How each kind of resource is listed.
enum Listings {
    static let users = Listing<User>(
        "users", UserResource.schema, identifier: { $0.id.description },
        sort: [
            .init("name") { .text($0.name) }, .init("account") { .text($0.account) }, created { $0.createdAt },
        ],
        filters: [
            name(), .init("account", .reference, "Only those of this account."),
            .init("enabled", .boolean, "Only those that may, or may not, sign in."),
            .init("email", .line(1...254), "Only those with this address."),
        ])

    static let accounts = Listing<Account>(
        "accounts", AccountResource.schema, identifier: { $0.id.description },
        sort: [.init("name") { .text($0.name) }, created { $0.createdAt }],
        filters: [name(), .init("enabled", .boolean, "Only those that are, or are not, enabled.")])

    static let groups = Listing<Group>(
        "groups", GroupResource.schema, identifier: { $0.id.description },
        sort: [
            .init("name") { .text($0.name) }, .init("account") { .text($0.account) }, created { $0.createdAt },
        ],
        filters: [name(), .init("account", .reference, "Only those of this account.")])

    static let keyPairs = Listing<KeyPair>(
        "keypairs", KeyPairResource.schema, identifier: { $0.id.description },
        sort: [.init("name") { .text($0.name) }, .init("type") { .text($0.type) }, created { $0.createdAt }],
        filters: [name(), owner(), .init("type", .line(1...64), "Only those of this type, such as ssh-ed25519.")])

    static let serverGroups = Listing<ServerGroup>(
        "server-groups", ServerGroupResource.item, identifier: { $0.id.description },
        sort: [
            .init("name") { .text($0.name) }, .init("policy") { .text($0.policy.rawValue) }, created { $0.createdAt },
        ],
        filters: [
            name(), owner(),
            .init("policy", .choice(ServerGroup.Policy.allCases.map(\.rawValue)), "Only those with this policy."),
        ])

    static let flavors = Listing<Flavor>(
        "flavors", FlavorResource.schema, identifier: { $0.id.description },
        sort: [
            .init("name") { .text($0.name) }, .init("vcpus") { .number(Int64($0.vcpus)) },
            .init("ram_mib") { .number(Int64($0.ramMiB)) }, .init("disk_gib") { .number(Int64($0.diskGiB)) },
            created { $0.createdAt },
        ], filters: [name()])

    static let images = Listing<Image>(
        "images", ImageResource.schema, identifier: { $0.id.description },
        sort: [
            .init("name") { .text($0.name) }, .init("status") { .text($0.status.rawValue) }, created { $0.createdAt },
            updated { $0.updatedAt },
        ],
        filters: [
            name(), owner(),
            .init("status", .choice(Image.Status.allCases.map(\.rawValue)), "Only those in this state."),
            .init(
                "visibility", .choice(Image.Visibility.allCases.map(\.rawValue)),
                "Only those that are offered like this."),
        ])

    static let instances = Listing<Instance>(
        "instances", InstanceResource.schema, identifier: { $0.id.description },
        sort: [
            .init("name") { .text($0.name) }, .init("status") { .text($0.status.rawValue) },
            .init("vcpus") { .number(Int64($0.vcpus)) }, .init("ram_mib") { .number(Int64($0.ramMiB)) },
            .init("disk_gib") { .number(Int64($0.diskGiB)) }, created { $0.createdAt }, updated { $0.updatedAt },
        ],
        filters: [
            name(), owner(),
            .init("status", .choice(InstanceStatus.allCases.map(\.rawValue)), "Only those in this state."),
            .init("account", .reference, "Only those of this account."),
            .init("node", .reference, "Only those on this node; for a superuser.", column: "node_id") {
                .text(try $1.node($0.string ?? "").id.description)
            },
            .init("flavor", .reference, "Only those of this flavor.", column: "flavor_id") {
                .text(try $1.flavor($0.string ?? "").id.description)
            },
            .init("image", .reference, "Only those made from this image.", column: "image_id") {
                .text(try $1.image($0.string ?? "").id.description)
            },
            .init("server_group", .reference, "Only those of this server group.", column: "server_group_id") {
                .text(try $1.serverGroup($0.string ?? "").id.description)
            },
        ])

    static let nodes = Listing<Node>(
        "nodes", NodeResource.item, identifier: { $0.id.description },
        sort: [
            .init("name") { .text($0.name) }, .init("location") { .text($0.location) },
            .init("joined_at") { .number($0.joinedAt.milliseconds) },
        ],
        filters: [
            name(), .init("enabled", .boolean, "Only those that may, or may not, get instances."),
            .init("location", .line(1...128), "Only those in this place."),
            .init(
                "alive", .choice(Node.Liveness.allCases.map(\.rawValue)), "Only those that are, or are not, heard of.",
                column: "liveness"),
        ])

    static let aggregates = Listing<Aggregate>(
        "aggregates", AggregateResource.schema, identifier: { $0.id.description },
        sort: [.init("name") { .text($0.name) }, created { $0.createdAt }, updated { $0.updatedAt }],
        filters: [name()])

    static let devices = Listing<HostedDevice>(
        "devices", DeviceResource.schema, identifier: { $0.device.id.description },
        sort: [
            .init("node", column: "node_name") { .text($0.nodeName) },
            .init("address") { .text($0.device.facts.address) },
            .init("status", column: "standing") { .text($0.status.rawValue) },
            .init("first_seen_at") { .number($0.device.firstSeenAt.milliseconds) },
            .init("changed_at") { .number($0.device.changedAt.milliseconds) },
        ],
        filters: [
            .init("node", .reference, "Only those in this node.", column: "node_id") {
                .text(try $1.node($0.string ?? "").id.description)
            },
            .init("address", .line(1...16), "Only those at this address, such as 0000:3b:00.0.") { value, _ in
                .text((value.string ?? "").lowercased())
            },
            .init(
                "status", .choice(HostedDevice.Status.allCases.map(\.rawValue)), "Only those in this state.",
                column: "standing"),
            .init("free", .boolean, "Only those that a guest could, or could not, be given now.", column: "is_free"),
            .init(
                "quarantined", .boolean, "Only those that are, or are not, kept out of service.",
                column: "is_quarantined"),
        ])

    static let deviceRules = Listing<DeviceRule>(
        "device-rules", DeviceRuleResource.schema, identifier: { $0.id.description },
        sort: [
            .init("alias") { .text($0.alias) }, .init("action") { .text($0.action.rawValue) }, created { $0.createdAt },
            updated { $0.updatedAt },
        ],
        filters: [
            .init("alias", .name(), "Only those that give this alias."),
            .init("action", .choice(DeviceRule.Action.allCases.map(\.rawValue)), "Only those that do this."),
        ])

    static let policies = Listing<PrefillPolicy>(
        "image-policies", PrefillPolicyResource.item, identifier: { $0.id.description },
        sort: [.init("name") { .text($0.name) }, created { $0.createdAt }, updated { $0.updatedAt }],
        filters: [name(), .init("enabled", .boolean, "Only those that do, or do not, send anything.")])

    static let operations = Listing<Operation>(
        "operations", OperationResource.schema, identifier: { $0.id.description },
        sort: [
            .init("kind") { .text($0.kind.rawValue) }, .init("status") { .text($0.status.rawValue) },
            created { $0.createdAt },
        ],
        filters: [
            .init("kind", .line(1...64), "Only those of this kind, such as image.prefill."),
            .init("status", .choice(Operation.Status.allCases.map(\.rawValue)), "Only those in this state."), owner(),
        ])

    static let apiKeys = Listing<APIKey>(
        "api-keys", APIKeyRoutes.schema, identifier: { $0.id.description },
        sort: [.init("name") { .text($0.name) }, created { $0.createdAt }],
        filters: [
            name(),
            .init("owner", .reference, "Only those of this user.", column: "user_id") {
                .text(try $1.user($0.string ?? "").id.description)
            },
        ])

    static let accountQuotas = Listing<Account>(
        "quotas-account", QuotaDocument.schema, identifier: { $0.id.description },
        sort: [.init("name") { .text($0.name) }],
        filters: [name()])

    static let userQuotas = Listing<User>(
        "quotas-user", QuotaDocument.schema, identifier: { $0.id.description },
        sort: [.init("name") { .text($0.name) }],
        filters: [name()])

    static let whitelist = Listing<WhitelistEntry>(
        "registration-whitelist", WhitelistRoutes.schema, identifier: { $0.id.description },
        sort: [.init("pattern") { .text($0.pattern.text) }, created { $0.createdAt }],
        filters: [
            .init("pattern", .line(1...254), "Only the entry with this pattern.") { value, _ in
                .text((value.string ?? "").lowercased())
            }
        ])

    /// A cursor of another grouping would point between its rows.
    static func usage(_ grouping: UsageRepository.Grouping) -> Listing<UsageRow> {
        Listing<UsageRow>(
            "usage-\(grouping.rawValue)", UsageResource.item, identifier: \.place,
            sort: [
                .init("server_hours", column: "server_ms") { .number($0.amounts.serverMilliseconds) },
                .init("vcpu_hours", column: "vcpu_ms") { .number($0.amounts.vcpuMilliseconds) },
                .init("ram_mib_hours", column: "ram_mib_ms") { .number($0.amounts.ramMiBMilliseconds) },
                .init("cpu_seconds", column: "cpu_ns") { .number($0.amounts.cpuTimeNanoseconds) },
                .init("disk_read_bytes", column: "disk_read") { .number($0.amounts.diskReadBytes) },
                .init("disk_write_bytes", column: "disk_write") { .number($0.amounts.diskWriteBytes) },
                .init("network_receive_bytes", column: "net_receive") { .number($0.amounts.networkReceiveBytes) },
                .init("network_transmit_bytes", column: "net_transmit") { .number($0.amounts.networkTransmitBytes) },
            ],
            filters: [
                .init("account", .reference, "Only what was used by this account."),
                .init("flavor", .reference, "Only what was used with this flavor.", column: "flavor_id") {
                    .text(try $1.flavor($0.string ?? "").id.description)
                },
                .init(
                    "instance", .reference, "Only what this instance used; by ID also where it is deleted.",
                    column: "instance_id"
                ) { value, commands in
                    let reference = value.string ?? ""
                    return .text(try (InstanceID(reference) ?? commands.instance(reference).id).description)
                },
            ], usualOrder: "By day, instance and user")
    }

    // MARK: What no table holds

    static let roles = Listing<JSONValue>(
        "roles", RoleResource.schema, identifier: { $0["name"]?.string ?? "" },
        sort: [member("name"), member("created_at")],
        filters: [
            member("name", .reference, "Only the one of this name."),
            .init("built_in", .boolean, "Only the system's own, or only the site's.") {
                .number($0["built_in"] == true ? 1 : 0)
            },
        ], usualOrder: "By name")

    static let managers = Listing<JSONValue>(
        "managers", ManagerRoutes.schema,
        // Names may be the same.
        identifier: { "\($0["name"]?.string ?? "") \($0["id"]?.string ?? "")" },
        sort: [member("name"), member("role"), member("status"), member("version"), member("started_at")],
        filters: [
            member("name", .reference, "Only those of this name."),
            member("role", ManagerRoutes.role, "Only the one that leads, or the others."),
            member("status", ManagerRoutes.status, "Only those that are, or are not, alive."),
            member("version", .line(1...64), "Only those of this version."),
        ], usualOrder: "By name")

    static let deviceAliases = Listing<DeviceNumbers>(
        "device-aliases", DeviceAliasResource.schema, identifier: \.alias,
        sort: [
            .init("alias") { .text($0.alias) }, .init("total") { .number(Int64($0.total)) },
            .init("free") { .number(Int64($0.free)) },
        ],
        filters: [.init("alias", .name(), "Only the one of this name.") { .text($0.alias) }], usualOrder: "By alias")

    static let nodeImages = Listing<NodeImage>(
        "node-images", ImageCacheRoutes.copy, identifier: { $0.placement.image.description },
        sort: [
            .init("image") { .text($0.name) }, .init("state") { .text($0.placement.state.rawValue) },
            .init("size_bytes") { .number($0.image?.sizeBytes ?? 0) },
            .init("disk_bytes") { .number($0.copy?.diskBytes ?? 0) },
            updated { $0.placement.updatedAt },
        ],
        filters: [
            .init("image", .reference, "Only the copy of this image, by its name.") { .text($0.name) },
            .init("state", .choice(ImagePlacement.State.allCases.map(\.rawValue)), "Only those in this state.") {
                .text($0.placement.state.rawValue)
            },
            .init("pinned", .boolean, "Only those that are, or are not, kept whatever room is needed.") {
                .number($0.isPinned ? 1 : 0)
            },
        ], usualOrder: "By the image's age")

    /// A member of what is answered, as a key: none comes first.
    private static func member(_ name: String) -> Listing<JSONValue>.Key {
        .init(name) { .text($0[name]?.string ?? "") }
    }

    private static func member(_ name: String, _ schema: Schema, _ summary: String) -> Listing<JSONValue>.Filter {
        .init(name, schema, summary) { .text($0[name]?.string ?? "") }
    }

    // MARK: What many have

    private static func name<Item>() -> Listing<Item>.Filter {
        .init("name", .reference, "Only those of this name.")
    }

    private static func owner<Item>() -> Listing<Item>.Filter {
        .init("owner", .reference, "Only those of this user.", column: "owner_id") {
            .text(try $1.user($0.string ?? "").id.description)
        }
    }

    private static func created<Item>(_ time: @escaping @Sendable (Item) -> Timestamp) -> Listing<Item>.Key {
        .init("created_at") { .number(time($0).milliseconds) }
    }

    private static func updated<Item>(_ time: @escaping @Sendable (Item) -> Timestamp) -> Listing<Item>.Key {
        .init("updated_at") { .number(time($0).milliseconds) }
    }
}
