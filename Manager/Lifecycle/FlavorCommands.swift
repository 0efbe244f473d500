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
        try Self.check(properties, of: name, vcpus: vcpus, ramMiB: ramMiB)
        let flavor = Flavor(
            id: .generate(at: now), name: name, vcpus: vcpus, ramMiB: ramMiB, diskGiB: diskGiB, properties: properties,
            createdAt: now)
        try checkAliases(of: flavor)
        try sql.flavors.insert(flavor)
        try event(
            "flavor.created", ResourceReference(flavor), owner: nil, changes: Event.differences(from: nil, to: flavor))
        return flavor
    }

    /// Records a flavor as it should be. Its name may change at any time; what instances were claimed by may not.
    public func updateFlavor(_ flavor: Flavor) throws -> Flavor {
        guard let present = try sql.flavors.find(flavor.id) else {
            throw Refusal(.notFound, "there is no flavor '\(flavor.name)'")
        }
        guard flavor != present else { return present }
        if flavor.name != present.name, try sql.flavors.find(name: flavor.name) != nil {
            throw Refusal(.nameTaken, "there is a flavor '\(flavor.name)' already")
        }
        var renamed = present
        renamed.name = flavor.name
        let users = flavor == renamed ? 0 : try sql.instances.count(flavor: flavor.id)
        guard users == 0 else {
            throw Refusal(
                .inUse,
                "\(users) instance\(users == 1 ? " has" : "s have") flavor '\(present.name)', of which only the name can be "
                    + "changed; make a new flavor")
        }
        // One that was recorded before its properties were checked may still be renamed.
        if flavor.properties != present.properties {
            try Self.check(flavor.properties, of: flavor.name, vcpus: flavor.vcpus, ramMiB: flavor.ramMiB)
            try checkAliases(of: flavor)
        }
        try sql.flavors.update(flavor)
        try event(
            "flavor.updated", ResourceReference(flavor), owner: nil,
            changes: Event.differences(from: present, to: flavor))
        return flavor
    }

    private static func check(
        _ properties: [String: String], of name: String, vcpus: Int, ramMiB: Int
    ) throws(Refusal) {
        var reading = FlavorProperties.read(properties)
        reading.compare(vcpus: vcpus, ramMiB: ramMiB)
        if let refusal = reading.refusal(of: "flavor '\(name)'") { throw refusal }
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
