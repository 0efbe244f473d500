import ManagerModel
import ManagerPlacement
import ManagerStore
import ProtocolModel

// Devices that instances have: claimed when an instance is placed or started, and free again when its guest is gone (GPU-09).
extension Commands {
    /// What a flavor asks for, in the numbers of `HostGroups`.
    ///
    /// - Throws: `Refusal.unprocessable` where no rule of the site gives such an alias.
    func deviceRequests(_ wanted: [FlavorRequirements.Devices]) throws -> [DeviceRequest] {
        guard !wanted.isEmpty else { return [] }
        let rules = try sql.devices.rules()
        guard let requests = DeviceAliases(rules).requests(wanted) else {
            let names = DeviceRules(rules).aliasNames
            let missing = wanted.first { !names.contains($0.alias) }?.alias ?? ""
            throw Refusal(
                .unprocessable,
                "no rule of this site gives devices the alias '\(missing)'; its operator can make one with "
                    + "'roost device rule create alias'")
        }
        return requests
    }

    /// Gives an instance the devices that it is to have, on its node. Whoever decided that they are there did so in this
    /// transaction, or it is decided here.
    ///
    /// - Throws: `Refusal.noCapacity`, with the numbers that its owner needs.
    func claimDevices(for instance: Instance, on node: Node) throws {
        guard !instance.devices.isEmpty else { return }
        let held = try sql.devices.list(of: instance.id)
        // Started again before the last guest was seen to be gone: it has them still.
        guard held.isEmpty else { return }
        let (devices, choice) = try deviceChoice(for: instance, on: node)
        for (index, request) in choice {
            var device = devices[index]
            device.claim = DeviceClaim(
                instance: instance.id, alias: request.map { instance.devices[$0].alias } ?? "", since: now)
            try sql.devices.update(device)
        }
    }

    /// Which of the node's devices an instance is to have now, and for which of its requests each.
    ///
    /// - Throws: `Refusal.noCapacity`.
    func deviceChoice(
        for instance: Instance, on node: Node
    ) throws -> (devices: [Device], choice: [(device: Int, request: Int?)]) {
        guard !instance.devices.isEmpty else { return ([], []) }
        let requests = try deviceRequests(instance.devices)
        let devices = try sql.devices.list(on: node.id).filter(\.isPresent)
        let aliases = DeviceAliases(try sql.devices.rules())
        // What its host still makes ready after it, it may have again: its start waits for that.
        let snapshots = aliases.snapshots(of: devices.map { DevicePlace($0, for: instance.id) })
        guard let choice = DeviceRequest.choice(requests, from: snapshots) else {
            throw Refusal(
                .noCapacity,
                "node '\(node.name)', which holds this instance's disk, has not the devices that it needs: "
                    + (try deviceShortage(of: instance.devices, on: node)
                        ?? "its devices stand in groups that can only go together"))
        }
        return (devices, choice)
    }

    /// The instance's guest is gone. A device that its host has not made ready for others yet is not free until it has.
    func releaseDevices(of instance: Instance) throws {
        guard !instance.devices.isEmpty else { return }
        for var device in try sql.devices.list(of: instance.id) {
            device.claim = nil
            try sql.devices.update(device)
        }
    }

    /// What is in the way of whoever asks for these devices; `nil`: nothing that the numbers show.
    ///
    /// - Parameter node: where they must be; `nil`: anywhere.
    func deviceShortage(of wanted: [FlavorRequirements.Devices], on node: Node? = nil) throws -> String? {
        guard !wanted.isEmpty else { return nil }
        let sentences = try wanted.compactMap { wish in
            let numbers = try sql.devices.numbers(of: wish.alias, on: node?.id)
            return try numbers.shortage(of: wish.count) ?? wantOfSet(wish, numbers, on: node)
        }
        return sentences.isEmpty ? nil : sentences.joined(separator: "; ")
    }

    /// Where there are as many on one node, and the site's rules join them in sets: whether those are in the way.
    private func wantOfSet(
        _ wish: FlavorRequirements.Devices, _ numbers: DeviceNumbers, on node: Node?
    ) throws -> String? {
        let rules = try sql.devices.rules()
        guard rules.contains(where: { $0.action == .partition }) else { return nil }
        let aliases = DeviceAliases(rules)
        guard let requests = aliases.requests([wish]) else { return nil }
        let places = Dictionary(
            grouping: try sql.devices.places(on: node?.id, inSetsOf: wish.alias), by: \.node)
        guard !places.isEmpty,
            !places.values.contains(where: {
                DeviceRequest.choice(requests, from: aliases.snapshots(of: $0)) != nil
            })
        else { return nil }
        return numbers.wantOfSet(of: wish.count, node.map { "on node '\($0.name)'" } ?? "on any host")
    }
}
