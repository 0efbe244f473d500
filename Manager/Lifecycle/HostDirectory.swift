import ManagerModel
import ManagerPlacement
import ManagerStore
import ProtocolModel

/// The hosts as placement sees them, kept with the store's writing connection between decisions.
///
/// Reading every node anew for each decision costs milliseconds with a thousand nodes. The directory reads what has changed.
/// It is a copy and never the record: the row of the chosen node is read in the transaction that claims, and the choice is made
/// again where that row says something else (P3, P6). What aggregates say is taken from the copy: what another manager changed
/// of them counts here within `patience`, as if these instances had come before it.
final class HostDirectory {
    private var table = HostTable()
    private var isLoaded = false
    private var addresses: [NodeID: AddressesInUse] = [:]
    private var groups = HostGroups()
    private var readAt = Timestamp(milliseconds: 0)

    /// Where others write to the same database, their changes are seen after this long at the latest.
    private static let patience = Duration.seconds(2)
    /// Nodes whose addresses are remembered; a bit for each address.
    private static let rememberedNodes = 32_768

    /// The directory of a transaction's connection.
    static func of(_ sql: Transaction) -> HostDirectory {
        if let known = sql.nodeChanges.keeper as? HostDirectory { return known }
        let new = HostDirectory()
        sql.nodeChanges.keeper = new
        return new
    }

    var count: Int { table.count }

    /// All hosts in order of their names, each with whether it holds an image.
    func everything(in sql: Transaction, at now: Timestamp, image: ImageID) throws -> [Entry] {
        try bringUpToDate(sql, at: now)
        try look(for: image, in: sql)
        return table.hosts(holding: image).map { Entry(host: $0, holdsImage: $1) }
    }

    struct Entry: Equatable {
        var host: HostSnapshot
        var holdsImage: Bool
    }

    /// Of a transaction's connection, with what has changed taken in.
    static func ready(_ sql: Transaction, at now: Timestamp) throws -> HostDirectory {
        let directory = of(sql)
        try directory.bringUpToDate(sql, at: now)
        return directory
    }

    func keepUp(in sql: Transaction, at now: Timestamp) throws { try bringUpToDate(sql, at: now) }

    /// A host as it is known after `place`.
    subscript(_ node: NodeID) -> HostSnapshot? { table[node] }

    /// Whether any host could take it once nobody else were there.
    func couldEverTake(_ request: PlacementRequest, in sql: Transaction, at now: Timestamp) throws -> Bool {
        try bringUpToDate(sql, at: now)
        return table.couldEverTake(request)
    }

    func hostToKeep(
        for request: PlacementRequest, keeping kept: NodeID?, avoiding: Set<NodeID>, isSettled: Bool
    ) -> NodeID? {
        table.hostToKeep(for: request, keeping: kept, avoiding: avoiding, isSettled: isSettled)
    }

    func yieldPlan(
        for request: PlacementRequest, _ yielders: [NodeID: [Yielder]], avoiding: Set<NodeID>,
        promised: [NodeID: YieldPromise]
    ) -> YieldPlan? {
        table.yieldPlan(for: request, yielders, avoiding: avoiding, promised: promised)
    }

    private func look(for image: ImageID, in sql: Transaction) throws {
        if !table.knows(image) { table.setHeldBy(try sql.images.holders(of: image), image: image) }
    }

    /// Chooses a host and counts the claim; the caller records it in the same transaction.
    ///
    /// - Returns: the node as it is in the record now, or what to tell the caller.
    func place(_ request: PlacementRequest, in sql: Transaction, at now: Timestamp) throws -> Choice {
        try bringUpToDate(sql, at: now)
        // Numbers stand for names, and another manager may have given others.
        if !request.devices.isEmpty, try DeviceAliases(sql.devices.rules()) != groups.aliases {
            try readAll(sql, at: now)
        }
        if let image = request.image { try look(for: image, in: sql) }
        var isFresh = !sql.nodeChanges.hasMissed || readAt == now
        while true {
            switch table.place(request) {
            case .refused(let counts):
                guard !isFresh else { return .refused(counts) }
                // Others may have made room since.
                try readAll(sql, at: now)
                if let image = request.image { try look(for: image, in: sql) }
                isFresh = true
            case .placed(let id):
                // Counted in the table alone so far: whatever becomes of this transaction, the row is read again.
                sql.nodeChanges.changed(id)
                guard let node = try sql.nodes.find(id) else {
                    table.remove(id)
                    continue
                }
                var host: HostSnapshot
                if request.devices.isEmpty && request.cells == nil {
                    // Which devices it has matters to nobody now.
                    host = groups.snapshot(node, [])
                    host.devices = table[id]?.devices ?? []
                } else {
                    host = try groups.snapshot(node, in: sql)
                }
                guard Placement.accepts(host, request) else {
                    table.set(host)
                    continue
                }
                return .placed(node)
            }
        }
    }

    /// The claim that was decided is in the record, and nothing else has changed the node since `place` returned it.
    func recorded(_ request: PlacementRequest, on node: Node, in sql: Transaction) {
        // Which devices and processors were claimed is read again, rather than chosen again.
        guard request.devices.isEmpty, request.cells == nil, let known = table[node.id] else { return }
        var host = groups.snapshot(node, [])
        host.devices = known.devices
        host.claim(request)
        table.set(host)
        sql.nodeChanges.taken(node.id)
    }

    enum Choice {
        case placed(Node)
        case refused([Refusal.FilterCount])
    }

    /// The lowest address of a node's guest network that no instance has, and whether the card's address that is derived from
    /// it is free as well; `nil` where there is none.
    func takeAddress(on node: Node, in sql: Transaction) throws -> (address: String, isCardFree: Bool)? {
        guard let subnet = GuestSubnet(node.inventory.guestSubnet) else { return nil }
        var isFresh = false
        while true {
            var known: AddressesInUse
            if let remembered = addresses[node.id], remembered.subnet == subnet, !isFresh {
                known = remembered
            } else {
                known = AddressesInUse(of: subnet, try sql.instances.addresses(on: node.id))
                isFresh = true
            }
            let address = known.takeLowest()
            // What is remembered is a hint: another manager may have given the address away, or taken one back.
            if let address {
                let card = CardAddress.derived(node: node.id, address: address, attempt: 0)
                let taken = try sql.instances.taken(address, on: node.id, card: card)
                if !taken.address {
                    if addresses.count >= Self.rememberedNodes { addresses.removeAll() }
                    addresses[node.id] = known
                    return (address, !taken.card)
                }
            }
            addresses[node.id] = nil
            if isFresh { return nil }
            isFresh = true
        }
    }

    // MARK: Keeping up

    private func bringUpToDate(_ sql: Transaction, at now: Timestamp) throws {
        let isOld = sql.nodeChanges.hasMissed && now - readAt >= Self.patience
        guard isLoaded, !isOld else { return try readAll(sql, at: now) }
        let marks = sql.nodeChanges.take()
        guard !marks.isEmpty else { return }
        // Rare, and about many nodes at once.
        guard !marks.grounds else { return try readAll(sql, at: now) }
        // The marks are gone: where reading what they name fails, all is read the next time.
        isLoaded = false
        for node in marks.addresses { addresses[node] = nil }
        for id in marks.nodes {
            if let node = try sql.nodes.find(id) {
                table.set(try groups.snapshot(node, in: sql))
            } else {
                table.remove(id)
                addresses[id] = nil
            }
        }
        for copy in marks.copies where table.knows(copy.image) {
            table.setHeld(
                copy.image, on: copy.node,
                try sql.images.placement(of: copy.image, on: copy.node)?.state == .held)
        }
        isLoaded = true
    }

    private func readAll(_ sql: Transaction, at now: Timestamp) throws {
        _ = sql.nodeChanges.take()
        // The marks are gone: where reading fails, all is read the next time.
        isLoaded = false
        addresses = [:]
        groups = try HostGroups(sql)
        table = HostTable(try groups.snapshots(in: sql))
        isLoaded = true
        readAt = now
        sql.nodeChanges.caughtUp()
    }
}
