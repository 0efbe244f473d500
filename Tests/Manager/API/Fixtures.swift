import Crypto
import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerAPI
@testable import ManagerIdentity

/// What belongs to `ann`, with a node and a flavor: for tests of who may see and change what.
struct Fixtures: Sendable {
    let node: Node
    let flavor: Flavor
    let publicImage: Image
    let privateImage: Image
    let instance: Instance
    let keyPair: KeyPair
    let serverGroup: ServerGroup
    let apiKey: APIKey
    let operation: ManagerModel.Operation
    let aggregate: Aggregate
    let policy: PrefillPolicy
    let group: Group
    let role: RoleDefinition
    let account: Account
    let whitelistEntry: WhitelistEntry
    let device: Device
    let deviceRule: DeviceRule

    static let ed25519 =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILkgzcgr0G4dd7zVuqCa4rr8PpFpupLB8x9mGEy2IQ55 key@test"

    static func make(in site: TestSite, owner name: String = "ann") async throws -> Fixtures {
        let owner = site.users[name]!
        let now = SystemTime().timestamp
        return try await site.store.write { transaction in
            var node = Node(id: .generate(at: now), name: "cn1", certificateSerial: "01", joinedAt: now)
            node.liveness = .alive
            node.inventory.cpuCount = 16
            node.inventory.memoryBytes = 64 << 30
            node.inventory.diskBytes = 500 << 30
            node.inventory.diskAvailableBytes = 400 << 30
            node.inventory.guestSubnet = "192.168.177.0/24"
            node.inventory.architecture = "x86_64"
            node.inventory.pciDevices = [
                PCIDevice(
                    address: "0000:03:00.0", vendor: 0x10DE, product: 0x20B5, classCode: 0x030200, iommuGroup: 12,
                    numaNode: -1, driver: "vfio-pci")
            ]
            try transaction.nodes.insert(node)
            try transaction.nodes.update(node)
            let flavor = Flavor(
                id: .generate(at: now), name: "small", vcpus: 1, ramMiB: 512, diskGiB: 4, properties: ["gpu": "true"],
                createdAt: now)
            try transaction.flavors.insert(flavor)
            var images: [Image] = []
            for (name, visibility) in [("debian", Image.Visibility.public), ("secret-image", .private)] {
                let image = Image(
                    id: .generate(at: now), name: name, owner: owner.id, visibility: visibility, status: .active,
                    statusReason: "ready", progress: 100, format: "qcow2", sizeBytes: 2 << 30, uploadBytes: 1 << 28,
                    checksum: ContentDigest(bytes: SHA256.hash(data: [1])), manifestDigest: nil, createdAt: now,
                    updatedAt: now)
                try transaction.images.insert(image)
                images.append(image)
            }
            try transaction.images.insert(
                ImagePlacement(
                    image: images[0].id, node: node.id, state: .held, upstream: nil, chunksHeld: 5, chunksTotal: 5,
                    requestedAt: now, updatedAt: now))
            let operation = ManagerModel.Operation(
                id: .generate(at: now), kind: .instanceCreate,
                steps: [.init(name: "accepted", detail: "", at: now)],
                resource: ResourceReference(kind: "instance", id: "x", name: "web"), owner: owner.id, createdAt: now)
            try transaction.operations.insert(operation)
            var instance = Instance(
                id: .generate(at: now), name: "web", owner: owner.id, account: "default", flavor: flavor,
                image: images[0].id, keyName: "laptop", sshKeys: [], userData: [], metadata: ["role": "web"],
                hostName: "web", node: node.id, macAddress: "52:54:00:00:00:01", ipAddress: "192.168.177.12",
                createdAt: now)
            instance.operation = operation.id
            try transaction.instances.insert(instance)
            let pair = KeyPair(
                id: .generate(at: now), name: "laptop", owner: owner.id, type: "ssh-ed25519", fingerprint: "SHA256:x",
                publicKey: ed25519, createdAt: now)
            try transaction.keyPairs.insert(pair)
            let serverGroup = ServerGroup(
                id: .generate(at: now), name: "apart", owner: owner.id, policy: .antiAffinity, createdAt: now)
            try transaction.serverGroups.insert(serverGroup)
            let apiKey = APIKey(
                id: .generate(at: now), user: owner.id, name: "robot", secretHash: SecretText.fresh(.keySecret).hash,
                scopes: ["*"], createdAt: now, expiresAt: nil)
            try transaction.apiKeys.insert(apiKey)
            try transaction.events.append(
                "instance.created", actor: owner.actor, owner: owner.id,
                resource: ResourceReference(kind: "instance", id: instance.id.description, name: "web"), at: now)
            let aggregate = Aggregate(
                id: .generate(at: now), name: "gpu", metadata: ["gpu": "true"], createdAt: now, updatedAt: now)
            try transaction.aggregates.insert(aggregate)
            try transaction.aggregates.add(node.id, to: aggregate.id)
            let policy = PrefillPolicy(
                id: .generate(at: now), name: "debian-gpu", image: "debian", aggregate: aggregate.id,
                owner: owner.id, createdAt: now, updatedAt: now)
            try transaction.prefillPolicies.insert(policy)
            let account = Account(id: .generate(at: now), name: "physics", createdAt: now)
            try transaction.accounts.insert(account)
            let group = Group(id: .generate(at: now), name: "lab", account: owner.account, createdAt: now)
            try transaction.groups.insert(group)
            try transaction.groups.add(owner.id, to: group.id)
            let role = RoleDefinition(name: "watcher", rights: Rights([.nodeRead: .all]), createdAt: now)
            try transaction.roles.insert(role)
            let entry = WhitelistEntry(
                id: .generate(at: now), pattern: try #require(WhitelistPattern("*@example.org")), createdAt: now)
            try transaction.registrations.insert(entry)
            var match = DeviceMatch()
            match.vendor = 0x10DE
            let rule = DeviceRule(
                id: .generate(at: now), action: .alias, alias: "a100", match: match, description: "", createdAt: now,
                updatedAt: now)
            try transaction.devices.insert(rule)
            var device = Device(id: .generate(at: now), node: node.id, facts: node.inventory.pciDevices[0], at: now)
            device.heed(DeviceRules([rule]), node: node.name)
            try transaction.devices.insert(device)
            return Fixtures(
                node: node, flavor: flavor, publicImage: images[0], privateImage: images[1], instance: instance,
                keyPair: pair, serverGroup: serverGroup, apiKey: apiKey, operation: operation, aggregate: aggregate,
                policy: policy, group: group,
                role: role,
                account: account, whitelistEntry: entry, device: device, deviceRule: rule)
        }
    }

    /// The path of a pattern with ann's resource in it.
    func path(_ pattern: String, owner: User) -> String {
        let reference =
            switch pattern.split(separator: "/").dropFirst().first {
            case "users": owner.id.description
            case "api-keys": apiKey.id.description
            case "keypairs": keyPair.id.description
            case "server-groups": serverGroup.id.description
            case "flavors": flavor.id.description
            case "images": privateImage.id.description
            case "instances": instance.id.description
            case "nodes": node.id.description
            case "operations": operation.id.description
            case "aggregates": aggregate.id.description
            case "image-policies": policy.id.description
            case "groups": group.id.description
            case "registration-whitelist": whitelistEntry.id.description
            case "devices": device.id.description
            case "device-rules": deviceRule.id.description
            case "accounts": account.id.description
            default: "anything"
            }
        return pattern.replacing("{ref}", with: reference).replacing("{id}", with: reference)
            .replacing("{node}", with: node.name).replacing("{user}", with: owner.name)
            .replacing("{name}", with: role.name).replacing("{account}", with: "default")
    }
}

extension User {
    var actor: Actor { Actor(user: id, name: name, role: Role(rawValue: roles[0]) ?? .user, account: account) }
}

/// Values that a schema accepts, and such that it must refuse.
enum Sample {
    static func good(_ schema: Schema) -> JSONValue {
        switch schema {
        case .boolean: true
        case .integer(let range): .integer(range.lowerBound)
        case .number(let range): .number(range.lowerBound)
        case .choice(let words): .string(words[0])
        case .array(let element, _, _): [good(element)]
        case .map(let element, _): ["key": good(element)]
        case .object(let object): good(object)
        case .nullable(let inner): good(inner)
        case .freeObject: [:]
        case .string(let rule): .string(text(rule))
        }
    }

    static func good(_ object: ObjectSchema) -> JSONValue {
        .object(object.fields.map { JSONValue.Member($0.name, named($0)) })
    }

    private static func named(_ field: ObjectSchema.Field) -> JSONValue {
        switch field.name {
        case "public_key": .string(Fixtures.ed25519)
        case "password": "a good password"
        case "visibility": "private"
        case "checksum": .string("sha256:" + String(repeating: "0a", count: 32))
        // What an address or an instance's disk makes happen is tested by itself.
        case "url", "from_instance": nil
        case "node", "server_group", "max_per_host": nil
        case "nodes": ["cn1"]
        case "flavor": "small"
        case "scopes": ["instances:read"]
        case "expires_at": "2199-01-01T00:00:00Z"
        case "owner": "ann"
        case "flavor_caps": ["small": 1]
        case "devices": [:]
        // A rule that gives an alias has none.
        case "sets": []
        case "aggregate": "gpu"
        case "image": "debian"
        case "key_name": "laptop"
        case "user_data": "IyEvYmluL3NoCg=="
        default: good(field.schema)
        }
    }

    private static func text(_ rule: TextRule) -> String {
        if rule.format == "email" { return "a@b.example" }
        return String(repeating: "a", count: max(1, rule.lengths.lowerBound))
    }

    /// Values of another type than the schema wants.
    static func wrongTypes(_ schema: Schema) -> [JSONValue] {
        let all: [JSONValue] = [true, .number(1.5), "text that is no such thing \n", [[1]], ["x": ["y": 1]], nil]
        return all.filter { !SchemaCheck.faults(of: $0, in: schema).isEmpty }
    }
}
