import ManagerModel
import ManagerStore
public import ProtocolModel
public import ProtocolTransfer

extension ChainMember {
    /// Somebody of a chain, as the record has it. A node that is disabled gets nothing from anybody.
    init(_ copy: ChainCopy) {
        self.init(
            node: copy.copy.node, name: copy.name, location: copy.location,
            state: copy.copy.state == .held ? .held : copy.copy.state == .failed ? .failed : .fetching,
            upstream: copy.copy.upstream, chunksHeld: copy.copy.chunksHeld, chunksTotal: copy.copy.chunksTotal,
            priority: copy.copy.priority == .launch ? .launch : .prefill,
            isPaused: copy.copy.state != .held && (copy.copy.isPaused || !copy.isEnabled),
            isReachable: copy.liveness == .alive || copy.liveness == .suspect, throughput: copy.throughput)
    }
}

/// Chains that run: what nodes say of them, and what is planned anew.
extension FleetReports {
    /// All chains of images that are on their way to anybody.
    public func chains() throws -> [ImageID: [ChainMember]] {
        var chains: [ImageID: [ChainMember]] = [:]
        for image in try sql.chains.activeImages() {
            chains[image] = try sql.chains.copies(of: image).map(ChainMember.init)
        }
        return chains
    }

    /// How far nodes are with images, many at a time. A copy that has ended meanwhile, or is to go, stays what it is.
    public func observeProgress(_ seen: [(node: NodeID, image: ObservedImage)]) throws {
        var prefills: Set<OperationID> = []
        for (node, observed) in seen {
            guard var placement = try sql.images.placement(of: observed.image, on: node), placement.state == .fetching
            else { continue }
            let before = placement
            placement.chunksHeld = observed.chunksHeld
            placement.chunksTotal = observed.chunksTotal
            placement.bytesReceived = max(placement.bytesReceived, observed.bytesReceived)
            // Why its place was changed stays to be read.
            if !observed.reason.isEmpty { placement.reason = String(observed.reason.prefix(1000)) }
            if let copy = observed.copy, copy.node == node {
                let known = try sql.imageCopies.find(observed.image, on: node)
                if copy.corruptChunks != known?.corruptChunks ?? 0 { try note(copy, before: known) }
            }
            guard placement != before else { continue }
            placement.updatedAt = now
            try sql.images.update(placement, assigned: false)
            if let operation = placement.operation { prefills.insert(operation) }
        }
        for operation in prefills.sorted() { try settlePrefill(operation) }
    }

    public func rememberThroughput(_ seen: [NodeID: Int64]) throws {
        for (node, rate) in seen.sorted(by: { $0.key < $1.key }) { try sql.chains.remember(rate, of: node, at: now) }
    }

    /// Records whom nodes pull from from now on, and has all told whom it concerns: those who pull, those behind them, for
    /// whom they stand in, and those who may serve them, or may no more.
    public func relink(_ image: ImageID, _ relinks: [ChainMachine.Relink]) throws {
        var concerned: Set<NodeID> = []
        var changed: [ChainMachine.Relink] = []
        for relink in relinks {
            guard let placement = try sql.images.placement(of: image, on: relink.node), placement.state != .removing
            else { continue }
            try note(relink.node, image, in: &concerned)
            let reason = try sentence(of: relink)
            try sql.chains.link(
                image, relink.node, to: relink.upstream, reason: reason, at: now)
            changed.append(relink)
        }
        for relink in changed { try note(relink.node, image, in: &concerned) }
        for node in concerned.sorted() where try sql.images.placement(of: image, on: node) != nil {
            try sql.images.touch(image, on: node)
        }
        try tell(image, changed)
    }

    /// A node, those behind it, and those before it.
    private func note(_ node: NodeID, _ image: ImageID, in concerned: inout Set<NodeID>) throws {
        concerned.insert(node)
        concerned.formUnion(try sql.images.downstream(of: node, image: image))
        concerned.formUnion(
            try ChainNeighbours.upstreams(of: node) { try sql.chains.upstream(of: $0, image: image) })
    }

    private func sentence(of relink: ChainMachine.Relink) throws -> String {
        let who = try relink.culprit.map { try sql.nodes.name(of: $0) ?? "a node that is gone" } ?? "the chain"
        let upstream = try relink.upstream.flatMap { try sql.nodes.name(of: $0) } ?? "the manager"
        return "\(who) \(relink.cause.sentence); pulls from \(upstream)"
    }

    /// One event for each node that others go around.
    private func tell(_ image: ImageID, _ relinks: [ChainMachine.Relink]) throws {
        guard let record = try sql.images.find(image) else { return }
        let groups = Dictionary(grouping: relinks) { $0.culprit }
        for culprit in groups.keys.compactMap(\.self).sorted() {
            guard let cause = groups[culprit]?.first?.cause else { continue }
            let moves = try (groups[culprit] ?? []).map { relink in
                let node = try sql.nodes.name(of: relink.node) ?? "\(relink.node)"
                let upstream = try relink.upstream.flatMap { try sql.nodes.name(of: $0) } ?? "the manager"
                return "\(node) pulls from \(upstream)"
            }
            let name = try sql.nodes.name(of: culprit) ?? "\(culprit)"
            try commands.event(
                "image.chain_changed", ResourceReference(record), owner: nil,
                detail: "\(name) \(cause.sentence): " + moves.joined(separator: ", "),
                data: ["node": name, "cause": cause.code])
        }
    }
}

extension ChainMachine.Cause {
    /// What a node did, for people.
    var sentence: String {
        switch self {
        case .silent: "was not heard"
        case .disconnected: "is not connected any more"
        case .slow: "is much slower than the others"
        case .paused: "is paused"
        case .removed: "does not receive the image any more"
        case .joined: "has a better place for a newcomer"
        case .complaint(let failure): failure.sentence
        }
    }

    /// A word for programs.
    var code: String {
        switch self {
        case .silent: "silent"
        case .disconnected: "disconnected"
        case .slow: "slow"
        case .paused: "paused"
        case .removed: "removed"
        case .joined: "joined"
        case .complaint(.silent): "source_silent"
        case .complaint(.broken): "source_broken"
        case .complaint(.lied): "source_lied"
        case .complaint(.unavailable): "source_unavailable"
        }
    }
}
