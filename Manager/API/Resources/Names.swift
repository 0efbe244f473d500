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

    private var places: [InstanceID: Int]?
    private var shortages: [[FlavorRequirements.Devices]: String?] = [:]

    init(_ transaction: Transaction) { self.transaction = transaction }

    /// Where an instance that waits stands.
    func queuePosition(of instance: InstanceID) throws -> QueuePosition? {
        guard let entry = try transaction.queue.find(instance) else { return nil }
        let known = try places ?? Self.places(try transaction.queue.order())
        places = known
        return QueuePosition(entry: entry, position: known[instance] ?? known.count, length: known.count)
    }

    private static func places(_ order: [InstanceID]) -> [InstanceID: Int] {
        Dictionary(order.enumerated().map { ($0.element, $0.offset + 1) }) { first, _ in first }
    }

    /// What is in the way of whoever waits for devices; `nil`: nothing that the numbers show.
    func deviceShortage(of wanted: [FlavorRequirements.Devices]) throws -> String? {
        guard !wanted.isEmpty else { return nil }
        if let known = shortages[wanted] { return known }
        let sentences = try wanted.compactMap { wish in
            try transaction.devices.numbers(of: wish.alias).shortage(of: wish.count)
        }
        let shortage = sentences.isEmpty ? nil : sentences.joined(separator: "; ")
        shortages[wanted] = .some(shortage)
        return shortage
    }

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
