public import ManagerModel
import ManagerStore
import ProtocolModel

// Devices of the nodes, and the site's rules about them.
extension Commands {
    /// - Throws: `Refusal.notFound`.
    public func device(_ reference: String) throws -> HostedDevice {
        guard let found = try DeviceID(reference).flatMap({ try sql.devices.hosted($0) }) else {
            throw Refusal.notFound("device", reference)
        }
        return found
    }

    /// How many devices the site has by each alias that a rule gives, in order of the aliases.
    public func deviceNumbers() throws -> [DeviceNumbers] {
        try sql.devices.numbers(of: DeviceRules(try sql.devices.rules()).aliasNames.sorted())
    }

    /// How many devices the site has by one alias: what a refusal for want of them tells.
    public func deviceNumbers(of alias: String) throws -> DeviceNumbers {
        try sql.devices.numbers(of: alias)
    }

    /// Keeps a device out of service, or lets it back in.
    ///
    /// - Parameter reason: `nil` lets it back in.
    public func quarantineDevice(_ reference: String, reason: String?) throws -> HostedDevice {
        var hosted = try device(reference)
        if reason == nil, hosted.device.quarantineReason == nil, let kept = hosted.device.facts.quarantineReason {
            throw Refusal(
                .conflict,
                "the host of this device keeps it out of service (\(kept)); once that is mended, run "
                    + "'roost-agent devices --readmit \(hosted.device.facts.address)' on '\(hosted.nodeName)'")
        }
        guard hosted.device.quarantineReason != reason else { return hosted }
        let before = hosted.device
        var device = before
        device.quarantineReason = reason
        device.quarantinedAt = reason == nil ? nil : before.quarantinedAt ?? now
        device.changedAt = now
        try sql.devices.update(device)
        try event(
            reason == nil ? "device.released" : "device.quarantined", resource(of: device, on: hosted.nodeName),
            owner: nil, detail: reason ?? "", changes: Event.differences(from: before, to: device))
        hosted.device = device
        return hosted
    }

    // MARK: Rules

    public func deviceRule(_ reference: String) throws -> DeviceRule {
        guard let found = try DeviceRuleID(reference).flatMap({ try sql.devices.rule($0) }) else {
            throw Refusal.notFound("device rule", reference)
        }
        return found
    }

    public func createDeviceRule(
        _ action: DeviceRule.Action, alias: String, match: DeviceMatch, sets: [[String]] = [], description: String
    ) throws -> DeviceRule {
        let rule = DeviceRule(
            id: .generate(at: now), action: action, alias: alias, match: match, sets: Self.tidy(sets),
            description: description, createdAt: now, updatedAt: now)
        try check(rule)
        try checkRoom(for: rule, among: try sql.devices.rules())
        try sql.devices.insert(rule)
        try event(
            "device_rule.created", resource(of: rule), owner: nil, changes: Event.differences(from: nil, to: rule))
        try heedDeviceRules(about: rule)
        return rule
    }

    /// Addresses in order, as hosts write them.
    private static func tidy(_ sets: [[String]]) -> [[String]] { sets.map { $0.map { $0.lowercased() }.sorted() } }

    public func updateDeviceRule(
        _ reference: String, alias: String?, match: DeviceMatch?, sets: [[String]]? = nil, description: String?
    ) throws -> DeviceRule {
        let before = try deviceRule(reference)
        var rule = before
        if let alias { rule.alias = alias }
        if let match { rule.match = match }
        if let sets { rule.sets = Self.tidy(sets) }
        if let description { rule.description = description }
        guard rule != before else { return before }
        try check(rule)
        if rule.alias != before.alias {
            let others = try sql.devices.rules().filter { $0.id != rule.id }
            try checkRoom(for: rule, among: others)
            try checkUnused(before, among: others, wouldBe: "given another")
        }
        rule.updatedAt = now
        try sql.devices.update(rule)
        try event(
            "device_rule.updated", resource(of: rule), owner: nil, changes: Event.differences(from: before, to: rule))
        if rule.alias != before.alias || rule.match != before.match { try heedDeviceRules(about: before, rule) }
        return rule
    }

    public func deleteDeviceRule(_ reference: String) throws -> DeviceRule {
        let rule = try deviceRule(reference)
        try checkUnused(rule, among: try sql.devices.rules().filter { $0.id != rule.id }, wouldBe: "deleted")
        try sql.devices.remove(rule.id)
        try event(
            "device_rule.deleted", resource(of: rule), owner: nil, changes: Event.differences(from: rule, to: nil))
        try heedDeviceRules(about: rule)
        return rule
    }

    private func check(_ rule: DeviceRule) throws {
        guard !rule.match.isEmpty else {
            throw Refusal(
                .unprocessable, "a rule must say which devices it is about; give at least one member of 'match'",
                fields: [.init(pointer: "/match", detail: "must have at least one member")])
        }
        guard (rule.action == .alias) != rule.alias.isEmpty else {
            throw Refusal(
                .unprocessable,
                rule.action == .alias
                    ? "a rule that gives an alias must say which" : "only a rule with the action 'alias' has an alias",
                fields: [
                    .init(
                        pointer: "/alias",
                        detail: rule.action == .alias ? "is required" : "must be left out, unless the action is 'alias'"
                    )
                ])
        }
        try checkSets(of: rule)
    }

    private func checkSets(of rule: DeviceRule) throws {
        func refuse(_ sentence: String, _ pointer: String, _ detail: String) -> Refusal {
            Refusal(.unprocessable, sentence, fields: [.init(pointer: pointer, detail: detail)])
        }
        guard rule.action == .partition else {
            guard rule.sets.isEmpty else {
                throw refuse(
                    "only a rule with the action 'partition' has sets", "/sets",
                    "must be left out, unless the action is 'partition'")
            }
            return
        }
        guard !rule.sets.isEmpty else {
            throw refuse(
                "a rule that joins devices must say in which sets they go", "/sets", "must have at least one set")
        }
        for (index, set) in rule.sets.enumerated() {
            guard Set(set).count == set.count else {
                throw refuse("a set names a device twice", "/sets/\(index)", "names an address twice")
            }
            if rule.sets[..<index].contains(set) {
                throw refuse("a set is there twice", "/sets/\(index)", "is the same as one before it")
            }
        }
    }

    private func checkRoom(for rule: DeviceRule, among others: [DeviceRule]) throws {
        guard others.count < DeviceRules.maximumRules else {
            throw Refusal(
                .unprocessable,
                "there are \(others.count) device rules, and more are not looked at; delete those that are no longer needed"
            )
        }
        let aliases = DeviceRules(others).aliasNames
        guard rule.action != .alias || aliases.contains(rule.alias) || aliases.count < DeviceRules.maximumAliases else {
            throw Refusal(
                .unprocessable, "a site has at most \(DeviceRules.maximumAliases) aliases of devices; delete one first",
                fields: [
                    .init(pointer: "/alias", detail: "would be one more than \(DeviceRules.maximumAliases) aliases")
                ])
        }
    }

    /// The last rule of an alias stays while a flavor asks for it.
    ///
    /// - Parameter verb: what the rule would be, such as `deleted`.
    private func checkUnused(_ rule: DeviceRule, among others: [DeviceRule], wouldBe verb: String) throws {
        guard rule.action == .alias, !others.contains(where: { $0.action == .alias && $0.alias == rule.alias }) else {
            return
        }
        let users = try sql.flavors.list().filter { $0.deviceAliases.contains(rule.alias) }.map(\.name).sorted()
        guard !users.isEmpty else { return }
        let named = users.prefix(Self.namedFlavors).map { "'\($0)'" }.joined(separator: ", ")
        let more = users.count > Self.namedFlavors ? " and \(users.count - Self.namedFlavors) more" : ""
        throw Refusal(
            .inUse,
            "the rule is the only one that gives the alias '\(rule.alias)' and cannot be \(verb): flavor"
                + "\(users.count == 1 ? "" : "s") \(named)\(more) ask\(users.count == 1 ? "s" : "") for it; change or delete "
                + "\(users.count == 1 ? "it" : "them"), or make another rule with the alias first")
    }

    /// As many as a sentence should hold.
    private static let namedFlavors = 20

    /// A flavor may ask for what a rule names, so that no instance waits for what nobody defined (GPU-05).
    func checkAliases(of flavor: Flavor) throws {
        let wanted = flavor.deviceAliases
        guard !wanted.isEmpty, case let known = DeviceRules(try sql.devices.rules()).aliasNames,
            let unknown = wanted.subtracting(known).min()
        else { return }
        let named = known.sorted().prefix(Self.namedFlavors).map { "'\($0)'" }.joined(separator: ", ")
        let detail =
            "no device rule gives the alias '\(unknown)'; "
            + (known.isEmpty
                ? "there is none yet, see 'roost device rule create'"
                : "there \(known.count == 1 ? "is" : "are") \(named)\(known.count > Self.namedFlavors ? " and others" : "")")
        throw Refusal(
            .unprocessable, "flavor '\(flavor.name)': \(detail)",
            fields: [.init(pointer: "/properties/\(Flavor.aliasProperty)", detail: detail)])
    }

    /// The rules as they are now, for every device that a changed rule was or is about.
    private func heedDeviceRules(about changed: DeviceRule...) throws {
        let all = try sql.devices.rules()
        // The first rule that allows some, and the last, are about all.
        let isAboutAll = changed[0].action == .allow && all.count { $0.action == .allow } < 2
        let rules = DeviceRules(all)
        let names = try sql.nodes.names()
        let matches = isAboutAll ? [DeviceMatch()] : changed.map(\.match)
        for var device in try sql.devices.list(fitting: matches, on: names) {
            let before = device
            device.heed(rules, node: names[device.node] ?? "")
            if device != before { try sql.devices.updateOffer(device) }
        }
    }

    // MARK: What hosts report

    /// Takes in what a node's inventory says of its devices: new ones, changed ones, and those that are gone.
    func takeDevices(of node: Node) throws {
        var known: [String: Device] = [:]
        for device in try sql.devices.list(on: node.id) { known[device.facts.address] = device }
        guard !known.isEmpty || !node.inventory.pciDevices.isEmpty else { return }
        let rules = DeviceRules(try sql.devices.rules())
        for facts in node.inventory.pciDevices {
            if var device = known.removeValue(forKey: facts.address) {
                try refresh(&device, facts, rules, node)
            } else {
                var device = Device(id: .generate(at: now), node: node.id, facts: facts, at: now)
                device.heed(rules, node: node.name)
                try sql.devices.insert(device)
                try event(
                    "device.found", resource(of: device, on: node.name), owner: nil, detail: facts.name,
                    changes: Event.differences(from: nil, to: device))
            }
        }
        for var device in known.values.sorted(by: { $0.facts.address < $1.facts.address }) where device.isPresent {
            let before = device
            device.isPresent = false
            device.changedAt = now
            try sql.devices.update(device)
            try event(
                "device.lost", resource(of: device, on: node.name), owner: nil, detail: device.facts.name,
                changes: Event.differences(from: before, to: device))
        }
    }

    private func refresh(_ device: inout Device, _ facts: PCIDevice, _ rules: DeviceRules, _ node: Node) throws {
        guard !device.isPresent || device.facts != facts else { return }
        let before = device
        device.facts = facts
        device.isPresent = true
        device.heed(rules, node: node.name)
        device.changedAt = now
        try sql.devices.update(device)
        // Whoever binds and unbinds drivers all day is no news, nor is that a host makes a device ready after each guest.
        let changes = Event.differences(from: before.settled, to: device.settled)
        guard !changes.isEmpty else { return }
        try event(
            before.isPresent ? "device.changed" : "device.found", resource(of: device, on: node.name), owner: nil,
            detail: facts.name, changes: changes)
    }

    private func resource(of device: Device, on node: String) -> ResourceReference {
        ResourceReference(kind: "device", id: "\(device.id)", name: "\(node) \(device.facts.address)")
    }

    private func resource(of rule: DeviceRule) -> ResourceReference {
        ResourceReference(
            kind: "device_rule", id: "\(rule.id)",
            name: rule.alias.isEmpty ? "\(rule.action.rawValue) \(rule.match.sentence)" : rule.alias)
    }
}
