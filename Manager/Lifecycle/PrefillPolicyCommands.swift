public import ManagerModel
import ManagerStore
import ProtocolModel

/// How a policy stands.
public struct PolicyStanding: Sendable, Equatable {
    public enum State: String, Sendable, CaseIterable {
        /// Each enabled node holds the image.
        case satisfied
        case spreading
        /// There is no active image that it could send.
        case waiting
        case disabled
    }

    public var state: State
    public var reason: String
    /// The image that it means just now.
    public var image: Image?
    /// Enabled nodes that it is about.
    public var nodes: Int
    public var holding: Int
    /// Those that lack the image, disabled ones too, by name; the first thousand.
    public var lacking: [PolicyTarget]
}

extension Commands {
    public func prefillPolicy(_ reference: String) throws -> PrefillPolicy {
        let found =
            try PrefillPolicyID(reference).flatMap { try sql.prefillPolicies.find($0) }
            ?? sql.prefillPolicies.find(name: reference)
        guard let found else { throw Refusal.notFound("prefill policy", reference) }
        return found
    }

    /// - Parameters:
    ///   - name: made of image and group where not given.
    ///   - group: an aggregate; `nil`: all enabled nodes.
    public func createPrefillPolicy(name: String?, image: String, aggregate group: String?) throws -> PrefillPolicy {
        guard let owner = actor.user else { throw Refusal(.forbidden, "only a user of this site can own policies") }
        // What it names must be there now, and mean one image.
        let named = try self.image(image)
        let aggregate = try group.map { try self.aggregate($0) }
        let name = name ?? "\(named.name)-\(aggregate?.name ?? "all")"
        try checkPolicyName(name)
        let policy = PrefillPolicy(
            id: .generate(at: now), name: name, image: image, aggregate: aggregate?.id, owner: owner, createdAt: now,
            updatedAt: now)
        try sql.prefillPolicies.insert(policy)
        try event(
            "image.policy_created", ResourceReference(policy), owner: nil,
            changes: Event.differences(from: nil, to: policy))
        try advancePolicy(policy)
        return policy
    }

    public func updatePrefillPolicy(
        _ reference: String, name: String?, image: String?, isEnabled: Bool?
    ) throws -> PrefillPolicy {
        var policy = try prefillPolicy(reference)
        let before = policy
        if let name, name != policy.name {
            try checkPolicyName(name)
            policy.name = name
        }
        if let image {
            _ = try self.image(image)
            policy.image = image
        }
        if let isEnabled { policy.isEnabled = isEnabled }
        guard policy != before else { return policy }
        policy.updatedAt = now
        try sql.prefillPolicies.update(policy)
        try event(
            "image.policy_updated", ResourceReference(policy), owner: nil,
            changes: Event.differences(from: before, to: policy))
        try advancePolicy(policy)
        return policy
    }

    /// Forgets the policy. Copies that it brought stay, and what is on its way goes on.
    public func deletePrefillPolicy(_ reference: String) throws -> PrefillPolicy {
        let policy = try prefillPolicy(reference)
        try sql.prefillPolicies.remove(policy.id)
        try event(
            "image.policy_deleted", ResourceReference(policy), owner: nil,
            changes: Event.differences(from: policy, to: nil))
        return policy
    }

    /// Sends the policy's image to nodes that lack it, some of them at a time. To be called again and again: what is there
    /// or on its way already is not touched.
    public func advancePolicy(_ policy: PrefillPolicy) throws {
        guard policy.isEnabled, case .success(let image) = try meantImage(of: policy) else { return }
        let due = try sql.prefillPolicies.lacking(policy, image: image.id, due: true, limit: Self.nodesAtATime)
        guard !due.isEmpty else { return }
        for target in due {
            try wantImage(image.id, on: target.node, operation: nil, priority: .prefill)
            // Otherwise it would be evicted, and sent again, and evicted.
            try sql.imageCopies.setPinned(true, image.id, on: target.node, at: now)
        }
        let names = due.prefix(50).map(\.name).joined(separator: " ")
        try event(
            "image.policy_applied", ResourceReference(policy), owner: nil,
            detail: due.count > 50 ? "\(names) and \(due.count - 50) more" : names,
            data: ["image": "\(image.id)", "image_name": image.name])
    }

    /// Whether `advancePolicy` would send anything.
    public func isDue(_ policy: PrefillPolicy) throws -> Bool {
        guard policy.isEnabled, case .success(let image) = try meantImage(of: policy) else { return false }
        return try !sql.prefillPolicies.lacking(policy, image: image.id, due: true, limit: 1).isEmpty
    }

    /// A transaction is to stay short; the rest comes with the next.
    private static let nodesAtATime = 250

    public func standing(of policy: PrefillPolicy, listing limit: Int = 1000) throws -> PolicyStanding {
        switch try meantImage(of: policy) {
        case .failure(let refusal):
            return PolicyStanding(
                state: policy.isEnabled ? .waiting : .disabled, reason: refusal.sentence, nodes: 0, holding: 0,
                lacking: [])
        case .success(let image):
            let counts = try sql.prefillPolicies.counts(policy, image: image.id)
            let state: PolicyStanding.State =
                !policy.isEnabled ? .disabled : counts.holding == counts.nodes ? .satisfied : .spreading
            return PolicyStanding(
                state: state, reason: policy.isEnabled ? "" : "nothing is sent while it is disabled", image: image,
                nodes: counts.nodes, holding: counts.holding,
                lacking: try sql.prefillPolicies.lacking(policy, image: image.id, due: false, limit: limit))
        }
    }

    /// The active image that a policy means: of several of one name, the newest. A user's private image never comes in
    /// between by having the same name.
    private func meantImage(of policy: PrefillPolicy) throws -> Result<Image, Refusal> {
        let candidates =
            try ImageID(policy.image).map { try sql.images.find($0).map { [$0] } ?? [] }
            ?? sql.images.list(.user(policy.owner), offeredTo: policy.owner, name: policy.image)
        if let active = candidates.filter({ $0.status == .active }).max(by: {
            ($0.createdAt, $0.id) < ($1.createdAt, $1.id)
        }) {
            return .success(active)
        }
        guard let other = candidates.first(where: { $0.status != .deleted }) else {
            return .failure(Refusal(.notFound, "there is no image '\(policy.image)'"))
        }
        return .failure(Refusal(.imageNotReady, "image '\(other.name)' is \(other.status.rawValue), not active"))
    }

    private func checkPolicyName(_ name: String) throws {
        guard try sql.prefillPolicies.find(name: name) == nil else {
            throw Refusal(.nameTaken, "there is a prefill policy '\(name)' already")
        }
    }
}

extension ResourceReference {
    public init(_ policy: PrefillPolicy) { self.init(kind: "policy", id: "\(policy.id)", name: policy.name) }
}
