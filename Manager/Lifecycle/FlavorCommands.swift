public import ManagerModel
import ManagerStore
import ProtocolModel

extension Commands {
    public func createFlavor(
        name: String, vcpus: Int, ramMiB: Int, diskGiB: Int, properties: [String: String]
    ) throws -> Flavor {
        guard try sql.flavors.find(name: name) == nil else {
            throw Refusal(.nameTaken, "there is a flavor '\(name)' already")
        }
        if let objection = Flavor.gpuObjection(to: properties) {
            throw Refusal(
                .invalidRequest, "the flavor's property \(objection.pointer.dropFirst(12)) \(objection.detail)",
                fields: [objection])
        }
        let flavor = Flavor(
            id: .generate(at: now), name: name, vcpus: vcpus, ramMiB: ramMiB, diskGiB: diskGiB, properties: properties,
            createdAt: now)
        try sql.flavors.insert(flavor)
        try event(
            "flavor.created", ResourceReference(flavor), owner: nil, changes: Event.differences(from: nil, to: flavor))
        return flavor
    }

    public func deleteFlavor(_ reference: String) throws -> Flavor {
        let flavor = try flavor(reference)
        let users = try sql.instances.count(flavor: flavor.id)
        guard users == 0 else {
            throw Refusal(
                .inUse, "\(users) instance\(users == 1 ? " has" : "s have") flavor '\(flavor.name)'; delete them first")
        }
        try sql.flavors.remove(flavor.id)
        try event(
            "flavor.deleted", ResourceReference(flavor), owner: nil, changes: Event.differences(from: flavor, to: nil))
        return flavor
    }
}
