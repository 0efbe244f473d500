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
