public import Foundation

/// A virtual machine.
public struct Instance: CreatableResource, ChangeableResource, Equatable {
    /// Under `/v1/`.
    public static let collection = "instances"

    /// Never given to another.
    public var id: String
    /// As people call it.
    public var name: String
    /// How it stands.
    public var status: Status
    /// A sentence; empty where there is nothing to say.
    public var statusReason: String
    /// The same for programs.
    public var statusCode: String
    /// `running`, `stopped` or `unknown`.
    public var powerState: String
    /// What it is to be: `running`, `stopped` or `deleted`.
    public var desiredState: String
    /// By name.
    public var flavor: String
    /// Of the flavor.
    public var flavorID: String
    /// By name.
    public var image: String
    /// Of the image.
    public var imageID: String
    /// Where it runs, by name; for those who may see nodes.
    public var node: String?
    /// Of that node.
    public var nodeID: String?
    /// Of IP.
    public var addresses: [String]
    /// When it was made.
    public var createdAt: Date
    /// When it changed last.
    public var updatedAt: Date
    /// By name.
    public var owner: String
    /// Of the owner.
    public var ownerID: String
    /// By name.
    public var account: String
    /// The ssh key that it was made with.
    public var keyName: String?
    /// The server group that it is in, by name.
    public var serverGroup: String?
    /// Of that group.
    public var serverGroupID: String?
    /// For people and programs; the site takes no notice of it.
    public var metadata: [String: String]
    /// What the guest calls itself.
    public var hostName: String
    /// When its host vanishes: `keep` or `restart`; absent from managers that do not know of it.
    public var onHostLoss: String?
    /// Virtual CPUs.
    public var vcpus: Int
    /// Memory.
    public var ramMiB: Int
    /// Of the root disk.
    public var diskGiB: Int
    /// Where it stands among those that wait for room; 0 where nothing was said.
    public var priority: Int?
    /// Whether it yields its room to instances that are not preemptible.
    public var preemptible: Bool?
    /// What becomes of it then: `queue` or `stop`.
    public var onPreemption: String?
    /// Where it stands, while it waits for room.
    public var queue: QueuePlace?
    /// Of nodes, that it has now.
    public var devices: [Device]
    /// Grows with each change of what it is to be.
    public var generation: Int64
    /// Grows with each placement on a node.
    public var epoch: Int64
    /// When the guest was seen to be up.
    public var readyAt: Date?
    /// When it was started last.
    public var startedAt: Date?
    /// The operation that is under way, or was last.
    public var operationID: String?

    enum CodingKeys: String, CodingKey {
        case id, name, status, statusReason = "status_reason", statusCode = "status_code", powerState = "power_state",
            desiredState = "desired_state", flavor, flavorID = "flavor_id", image, imageID = "image_id", node,
            nodeID = "node_id", addresses, createdAt = "created_at", updatedAt = "updated_at", owner,
            ownerID = "owner_id", account, keyName = "key_name", serverGroup = "server_group",
            serverGroupID = "server_group_id", metadata, hostName = "host_name", onHostLoss = "on_host_loss", vcpus,
            ramMiB = "ram_mib", diskGiB = "disk_gib", priority, preemptible, onPreemption = "on_preemption", queue,
            devices, generation, epoch, readyAt = "ready_at",
            startedAt = "started_at", operationID = "operation_id"
    }
}

extension Instance {
    /// One that is passed through.
    public struct Device: Codable, Sendable, Equatable {
        /// Of the record.
        public var id: String
        /// By what the flavor asks for it; empty: it goes along with another.
        public var alias: String
        /// On the bus of the host.
        public var address: String
        /// Vendor and product.
        public var name: String
    }

    /// What an instance is doing. A newer manager may say others.
    public struct Status: RawRepresentable, Codable, Hashable, Sendable {
        /// As the API writes it.
        public var rawValue: String
        /// Of any word.
        public init(rawValue: String) { self.rawValue = rawValue }

        /// `QUEUED`
        public static let queued = Status(rawValue: "QUEUED")
        /// `BUILDING`
        public static let building = Status(rawValue: "BUILDING")
        /// `ACTIVE`
        public static let active = Status(rawValue: "ACTIVE")
        /// `STOPPING`
        public static let stopping = Status(rawValue: "STOPPING")
        /// `STOPPED`
        public static let stopped = Status(rawValue: "STOPPED")
        /// `REBOOTING`
        public static let rebooting = Status(rawValue: "REBOOTING")
        /// `MIGRATING`
        public static let migrating = Status(rawValue: "MIGRATING")
        /// `ERROR`
        public static let error = Status(rawValue: "ERROR")
        /// `DELETING`
        public static let deleting = Status(rawValue: "DELETING")
        /// `DELETED`
        public static let deleted = Status(rawValue: "DELETED")
    }

    /// Where an instance stands among those that wait for room.
    public struct QueuePlace: Codable, Sendable, Equatable {
        /// From 1.
        public var position: Int
        /// How many wait.
        public var length: Int
        /// Since when it waits.
        public var queuedAt: Date
        /// The node that is kept for it, by name.
        public var reservedNode: String?

        enum CodingKeys: String, CodingKey {
            case position, length, queuedAt = "queued_at", reservedNode = "reserved_node"
        }
    }

    /// What an instance is to be.
    public struct Creation: Encodable, Sendable {
        /// As people call it.
        public var name: String
        /// By name or ID.
        public var flavor: String
        /// By name or ID.
        public var image: String
        /// An ssh key of the caller.
        public var keyName: String?
        /// For cloud-init, in base64.
        public var userData: String?
        /// For people and programs; the site takes no notice of it.
        public var metadata: [String: String]?
        /// Where; for operators.
        public var node: String?
        /// One of the caller's, by name or ID: its policy says where it may go.
        public var serverGroup: String?
        /// Its name where left out.
        public var hostName: String?
        /// When its host vanishes: `keep`, or `restart` anew elsewhere, without what was written to its disk.
        public var onHostLoss: String?

        /// Whether it waits where there is no room now, rather than being refused.
        public var queue: Bool?
        /// Where it stands among those that wait: -100 to 100, above 0 for operators.
        public var priority: Int?
        /// Whether it yields its room to instances that are not preemptible.
        public var preemptible: Bool?
        /// What becomes of it then: `queue` (where left out) or `stop`.
        public var onPreemption: String?

        enum CodingKeys: String, CodingKey {
            case name, flavor, image, keyName = "key_name", userData = "user_data", metadata, node,
                serverGroup = "server_group", hostName = "host_name", onHostLoss = "on_host_loss", queue, priority,
                preemptible,
                onPreemption = "on_preemption"
        }

        /// What is left out is left to the site, or as it is.
        public init(
            name: String, flavor: String, image: String, keyName: String? = nil, userData: String? = nil,
            metadata: [String: String]? = nil, node: String? = nil, serverGroup: String? = nil, hostName: String? = nil,
            queue: Bool? = nil, priority: Int? = nil, preemptible: Bool? = nil, onPreemption: String? = nil,
            onHostLoss: String? = nil
        ) {
            self.name = name
            self.flavor = flavor
            self.image = image
            self.keyName = keyName
            self.userData = userData
            self.metadata = metadata
            self.node = node
            self.serverGroup = serverGroup
            self.hostName = hostName
            self.queue = queue
            self.priority = priority
            self.preemptible = preemptible
            self.onPreemption = onPreemption
            self.onHostLoss = onHostLoss
        }
    }

    /// What is to be different.
    public struct Change: Encodable, Sendable {
        /// As people call it.
        public var name: String?
        /// Members that are given.
        public var metadata: [String: String]?
        /// `keep` or `restart`.
        public var onHostLoss: String?

        enum CodingKeys: String, CodingKey {
            case name, metadata, onHostLoss = "on_host_loss"
        }

        /// What is left out is left to the site, or as it is.
        public init(
            name: String? = nil, metadata: [String: String]? = nil, onHostLoss: String? = nil
        ) {
            self.name = name
            self.metadata = metadata
            self.onHostLoss = onHostLoss
        }
    }
}

extension Resources where Item == Instance {
    /// Makes several, named `name-1` and on: all of them, or none.
    public func create(_ creation: Instance.Creation, count: Int) async throws -> [Instance] {
        let body = try Coding.encode(creation).setting("count", to: .whole(count))
        let answer = try await client.send(Request(.post, "/v1/instances", body: body))
        guard count > 1 else { return [try Coding.decode(answer)] }
        let page: Page<Instance> = try Coding.page(answer)
        return page.items
    }

    /// Starts one that is stopped. Done once its operation has ended.
    ///
    /// - Parameter queue: where its node lacks what it needs, it waits for that, rather than being refused.
    public func start(_ reference: String, queue: Bool = false) async throws -> Instance {
        try await act(reference, "start", queue ? ["queue": true] : [:])
    }

    /// - Parameter force: cuts the power instead of asking the guest.
    public func stop(_ reference: String, force: Bool = false) async throws -> Instance {
        try await act(reference, "stop", ["force": force])
    }

    /// - Parameter force: resets instead of asking the guest.
    public func reboot(_ reference: String, force: Bool = false) async throws -> Instance {
        try await act(reference, "reboot", ["force": force])
    }
}
