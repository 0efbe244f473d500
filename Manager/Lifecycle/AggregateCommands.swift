public import ManagerModel
import ManagerStore
import ProtocolModel

extension Commands {
    public func createAggregate(
        name: String, metadata: [String: String], nodes: [String] = []
    ) throws -> Aggregate {
        try checkAggregateName(name)
        try check(metadata, of: name)
        let aggregate = Aggregate(
            id: .generate(at: now), name: name, metadata: metadata, createdAt: now, updatedAt: now)
        try sql.aggregates.insert(aggregate)
        try event(
            "aggregate.created", ResourceReference(aggregate), owner: nil,
            changes: Event.differences(from: nil, to: aggregate))
        return try addNodes(nodes, to: aggregate.id.description)
    }

    /// - Parameter metadata: replaces what there is; `nil` leaves it.
    public func updateAggregate(_ reference: String, name: String?, metadata: [String: String]?) throws -> Aggregate {
        var aggregate = try aggregate(reference)
        let before = aggregate
        if let name, name != aggregate.name {
            try checkAggregateName(name)
            aggregate.name = name
        }
        if let metadata, metadata != aggregate.metadata {
            try check(metadata, of: aggregate.name)
            aggregate.metadata = metadata
        }
        guard aggregate != before else { return aggregate }
        aggregate.updatedAt = now
        try sql.aggregates.update(aggregate)
        try event(
            "aggregate.updated", ResourceReference(aggregate), owner: nil,
            changes: Event.differences(from: before, to: aggregate))
        return aggregate
    }

    /// Puts nodes in. One that is in already changes nothing; one that is not there refuses all.
    public func addNodes(_ nodes: [String], to reference: String) throws -> Aggregate {
        let aggregate = try aggregate(reference)
        for name in nodes {
            let node = try node(name)
            guard try !sql.aggregates.contains(node.id, in: aggregate.id) else { continue }
            try sql.aggregates.add(node.id, to: aggregate.id)
            try event(
                "aggregate.node_added", ResourceReference(aggregate), owner: nil, detail: node.name,
                data: ["node": node.name])
        }
        return aggregate
    }

    public func removeNode(_ name: String, from reference: String) throws -> Aggregate {
        let aggregate = try aggregate(reference)
        let node = try node(name)
        guard try sql.aggregates.contains(node.id, in: aggregate.id) else {
            throw Refusal(.notFound, "node '\(node.name)' is not in aggregate '\(aggregate.name)'")
        }
        try sql.aggregates.remove(node.id, from: aggregate.id)
        try event(
            "aggregate.node_removed", ResourceReference(aggregate), owner: nil, detail: node.name,
            data: ["node": node.name])
        return aggregate
    }

    /// Forgets the group; its nodes stay what they are.
    public func deleteAggregate(_ reference: String) throws -> Aggregate {
        let aggregate = try aggregate(reference)
        if let policy = try sql.prefillPolicies.list(for: aggregate.id).first {
            throw Refusal(
                .inUse, "prefill policy '\(policy.name)' is about aggregate '\(aggregate.name)'; delete it first")
        }
        try sql.aggregates.remove(aggregate.id)
        try event(
            "aggregate.deleted", ResourceReference(aggregate), owner: nil,
            changes: Event.differences(from: aggregate, to: nil))
        return aggregate
    }

    /// What has a meaning to placement must have one that can be read.
    private func check(_ metadata: [String: String], of name: String) throws(Refusal) {
        guard case let faults = AggregateRules(metadata).faults, let first = faults.first else { return }
        throw Refusal(
            .invalidRequest,
            "aggregate '\(name)': metadata '\(first.pointer.dropFirst("/metadata/".count))' \(first.detail)",
            fields: faults)
    }

    private func checkAggregateName(_ name: String) throws {
        guard try sql.aggregates.find(name: name) == nil else {
            throw Refusal(.nameTaken, "there is an aggregate '\(name)' already")
        }
    }
}
