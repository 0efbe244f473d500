import ManagerModel
public import ManagerPlacement
import ManagerStore
import ProtocolModel

/// What somebody wants of an instance's host besides what its flavor and image ask for.
public struct PlacementWish: Sendable, Equatable {
    /// The operator's choice; empty: any.
    public var nodes: [String]
    /// Hosts that the operator leaves out.
    public var excludedNodes: [String]
    public var availabilityZone: String?

    public init(nodes: [String] = [], excludedNodes: [String] = [], availabilityZone: String? = nil) {
        self.nodes = nodes
        self.excludedNodes = excludedNodes
        self.availabilityZone = availabilityZone
    }
}

/// Where an instance would go, and what would become of it where it cannot go anywhere now.
public struct PlacementOutlook: Sendable, Equatable {
    public struct Yielding: Sendable, Equatable {
        public var node: String
        public var instances: [String]
    }

    public var explanation: Placement.Explanation
    /// Whether an empty node of the site could take it.
    public var isPossible: Bool
    /// How many wait now.
    public var queueLength = 0
    /// Where it would stand if it came now with `queue`; `nil`: it would be placed, or refused.
    public var queuePosition: Int?
    /// Who would be asked to yield to it.
    public var yielding: Yielding?
}

extension Commands {
    /// Where an instance would go now, and why; nothing is claimed.
    ///
    /// - Parameters:
    ///   - serverGroup: anybody's whom the caller may see.
    ///   - limit: names for each filter, and candidates in the ranking.
    ///   - priority: with which it would wait.
    ///   - isPreemptible: whether it would yield to others.
    public func explainPlacement(
        flavor: String, image: String?, serverGroup: String? = nil, _ wish: PlacementWish, limit: Int,
        priority: Int = 0, isPreemptible: Bool = false
    ) throws -> PlacementOutlook {
        let image = try image.map { try self.image($0) }
        let group = try serverGroup.map { try self.serverGroup($0) }
        var request = try placementRequest(try self.flavor(flavor), image, wish, in: group)
        var table = HostTable(try HostGroups(sql).snapshots(in: sql))
        if let image { table.setHeldBy(try sql.images.holders(of: image.id), image: image.id) }
        let keepers = try keepers(bindingPreemptible: isPreemptible)
        heed(keepers, in: &request) { table[$0] }
        let explanation = table.explain(request, limit: limit)
        var outlook = PlacementOutlook(explanation: explanation, isPossible: table.couldEverTake(request))
        outlook.queueLength = try sql.queue.count()
        guard explanation.candidates == 0 else { return outlook }
        if outlook.isPossible {
            let rank = QueueEntry.rank(cameAt: now, priority: priority)
            outlook.queuePosition = try sql.queue.count(before: rank) + 1
        }
        guard !isPreemptible else { return outlook }
        let known = try sql.instances.preemptible()
        let yielders = try yielders(known, withDevices: !request.devices.isEmpty)
        if let plan = table.yieldPlan(for: request, yielders, avoiding: Set(keepers.map(\.node))) {
            let names = Dictionary(known.map { ($0.id, $0.name) }) { first, _ in first }
            outlook.yielding = .init(
                node: try sql.nodes.name(of: plan.node) ?? "\(plan.node)",
                instances: plan.yielders.prefix(limit).map { names[$0.instance] ?? "\($0.instance)" })
        }
        return outlook
    }

    /// What placement is asked for.
    ///
    /// - Throws: `Refusal` (`not_found`, `unprocessable`).
    func placementRequest(
        _ flavor: Flavor, _ image: Image?, _ wish: PlacementWish, in group: ServerGroup?
    ) throws -> PlacementRequest {
        let requirements = try requirements(of: flavor)
        if let zone = wish.availabilityZone { try check(zone: zone) }
        let hardware = try hardware(of: flavor, requirements, image)
        var request = PlacementRequest(
            vcpus: flavor.vcpus, ramMiB: flavor.ramMiB, diskGiB: flavor.diskGiB,
            architecture: image?.properties["architecture"], image: image?.id,
            nodes: Set(try wish.nodes.map { try node($0).id }),
            excluded: Set(try wish.excludedNodes.map { try node($0).id }), zone: wish.availabilityZone,
            aggregates: requirements.aggregates, opportunistic: requirements.opportunistic,
            devices: try deviceRequests(requirements.devices), group: try group.map { try placement(of: $0) })
        request.needsHardware = !hardware.settings.isEmpty
        request.setCells(requirements.cells(vcpus: flavor.vcpus, memoryMiB: flavor.ramMiB))
        return request
    }

    /// A flavor may be older than the checks of its properties: what it asks for is done, or the instance is refused.
    func requirements(of flavor: Flavor) throws(Refusal) -> FlavorRequirements {
        var reading = FlavorProperties.read(flavor.properties)
        if !flavor.properties.isEmpty { reading.compare(vcpus: flavor.vcpus, ramMiB: flavor.ramMiB) }
        if let refusal = reading.refusal(of: "flavor '\(flavor.name)'") {
            // Its own fault, and not that of whoever asks for an instance of it.
            throw Refusal(
                .unprocessable, refusal.sentence,
                fields: [.init(pointer: "/flavor", detail: "asks for what cannot be done")])
        }
        return reading.requirements
    }

    private func check(zone: String) throws {
        let zones = Set(try sql.aggregates.list().compactMap { AggregateRules($0.metadata).zone })
        guard !zones.contains(zone) else { return }
        let known = zones.isEmpty ? "there is none" : "there are \(zones.sorted().prefix(20).joined(separator: ", "))"
        throw Refusal(
            .notFound, "there is no availability zone '\(zone)'; \(known)",
            fields: [.init(pointer: "/availability_zone", detail: "no such zone; \(known)")])
    }
}
