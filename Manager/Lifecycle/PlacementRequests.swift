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

extension Commands {
    /// Where an instance would go now, and why; nothing is claimed.
    ///
    /// - Parameters:
    ///   - serverGroup: anybody's whom the caller may see.
    ///   - limit: names for each filter, and candidates in the ranking.
    public func explainPlacement(
        flavor: String, image: String?, serverGroup: String? = nil, _ wish: PlacementWish, limit: Int
    ) throws -> Placement.Explanation {
        let image = try image.map { try self.image($0) }
        let group = try serverGroup.map { try self.serverGroup($0) }
        let request = try placementRequest(try self.flavor(flavor), image, wish, in: group)
        var table = HostTable(try HostGroups(sql).snapshots(in: sql))
        if let image { table.setHeldBy(try sql.images.holders(of: image.id), image: image.id) }
        return table.explain(request, limit: limit)
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
