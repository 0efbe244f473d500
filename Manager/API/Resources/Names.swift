import ManagerModel
import ManagerStore
import ProtocolModel

/// Names of what resources refer to, each looked up once in a transaction.
final class Names {
    private let transaction: Transaction
    private var users: [UserID: String] = [:]
    private var nodes: [NodeID: String] = [:]
    private var flavors: [FlavorID: String] = [:]
    private var images: [ImageID: String] = [:]
    private var serverGroups: [ServerGroupID: String] = [:]

    init(_ transaction: Transaction) { self.transaction = transaction }

    /// What is gone is called by its ID.
    func user(_ id: UserID) throws -> String {
        if let name = users[id] { return name }
        let name = try transaction.users.name(of: id) ?? id.description
        users[id] = name
        return name
    }

    func node(_ id: NodeID) throws -> String {
        if let name = nodes[id] { return name }
        let name = try transaction.nodes.name(of: id) ?? id.description
        nodes[id] = name
        return name
    }

    /// Those that an instance has.
    func devices(of instance: InstanceID) throws -> [Device] { try transaction.devices.list(of: instance) }

    func flavor(_ id: FlavorID) throws -> String {
        if let name = flavors[id] { return name }
        let name = try transaction.flavors.name(of: id) ?? id.description
        flavors[id] = name
        return name
    }

    func aggregate(_ id: AggregateID) throws -> String {
        try transaction.aggregates.find(id)?.name ?? id.description
    }

    func serverGroup(_ id: ServerGroupID) throws -> String {
        if let name = serverGroups[id] { return name }
        let name = try transaction.serverGroups.find(id)?.name ?? id.description
        serverGroups[id] = name
        return name
    }

    func image(_ id: ImageID) throws -> String {
        if let name = images[id] { return name }
        let name = try transaction.images.name(of: id) ?? id.description
        images[id] = name
        return name
    }
}
