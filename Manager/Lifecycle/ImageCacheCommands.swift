public import ManagerModel
import ManagerStore
public import ProtocolModel

/// What operators do with nodes' copies of an image.
extension Commands {
    /// Keeps an image on nodes whatever room is needed there, or lets it go under pressure again (HLT-42).
    public func pinImage(_ reference: String, on nodes: [String], pinned: Bool) throws -> Image {
        let image = try image(reference)
        let copies = try self.copies(of: image, on: nodes)
        for (node, _) in copies {
            guard try sql.imageCopies.setPinned(pinned, image.id, on: node.id, at: now) else { continue }
            try event(
                pinned ? "image.pinned" : "image.unpinned", ResourceReference(image), owner: nil,
                data: ["node": node.name])
        }
        return image
    }

    /// Takes an image's copies from nodes: all that are named, or none.
    public func evictImage(_ reference: String, from nodes: [String]) throws -> Image {
        let image = try image(reference)
        let copies = try self.copies(of: image, on: nodes)
        for (node, placement) in copies {
            if placement.state == .fetching,
                let operation = try placement.operation.flatMap({ try sql.operations.find($0) }),
                operation.status == .running
            {
                throw conflict(with: operation, on: "image '\(image.name)' on node '\(node.name)'")
            }
            let users = try sql.instances.list(of: image.id, on: node.id)
            guard users.isEmpty else {
                let names = users.prefix(10).map { "'\($0.name)'" }.joined(separator: ", ")
                let more = users.count > 10 ? " and \(users.count - 10) more" : ""
                throw Refusal(
                    .inUse,
                    "image '\(image.name)' is in use on node '\(node.name)' by instance\(users.count == 1 ? "" : "s") "
                        + "\(names)\(more), whose disks depend on it; delete them first")
            }
            guard try !sql.imageCopies.isPinned(image.id, on: node.id) else {
                throw Refusal(
                    .conflict, "image '\(image.name)' is pinned on node '\(node.name)'; unpin it there first")
            }
        }
        for (node, placement) in copies {
            try FleetReports(in: sql, at: now).letGo(placement)
            try event("image.evicted", ResourceReference(image), owner: nil, data: ["node": node.name])
        }
        return image
    }

    /// What nodes have of an image or are about to have.
    private func copies(of image: Image, on nodes: [String]) throws -> [(node: Node, placement: ImagePlacement)] {
        var copies: [(node: Node, placement: ImagePlacement)] = []
        for name in nodes {
            let node = try node(name)
            guard !copies.contains(where: { $0.node.id == node.id }) else { continue }
            guard let placement = try sql.images.placement(of: image.id, on: node.id), placement.state != .removing
            else {
                throw Refusal(
                    .conflict, "node '\(node.name)' has no copy of image '\(image.name)'; prefill it there first")
            }
            copies.append((node, placement))
        }
        return copies
    }
}

extension FleetReports {
    /// A node's copy goes: the node is told, and those that pull from it get another source.
    func letGo(_ placement: ImagePlacement) throws {
        var placement = placement
        placement.state = .removing
        placement.upstream = nil
        placement.updatedAt = now
        try sql.images.update(placement, assigned: true)
        for id in try sql.images.downstream(of: placement.node, image: placement.image) {
            guard var behind = try sql.images.placement(of: placement.image, on: id) else { continue }
            behind.upstream =
                behind.state == .fetching ? try sql.images.bestUpstream(of: placement.image, for: id) : nil
            try sql.images.update(behind, assigned: behind.state == .fetching)
        }
    }

    /// A node made room and threw an image out that the record has there. Where a guest, a pin or an operation wants it, it is
    /// asked for anew; otherwise the record lets it go, so that placement knows, and a later launch fetches it.
    func evicted(_ placement: ImagePlacement, reason: String) throws {
        var placement = placement
        placement.reason = String(reason.prefix(1000))
        placement.chunksHeld = 0
        let isAwaited = try placement.operation.flatMap { try sql.operations.find($0) }?.status == .running
        if try isAwaited || sql.imageCopies.isPinned(placement.image, on: placement.node)
            || !sql.instances.list(of: placement.image, on: placement.node).isEmpty
        {
            placement.state = .fetching
            placement.updatedAt = now
            try sql.images.update(placement, assigned: true)
        } else {
            try letGo(placement)
        }
        try tell("image.evicted", placement)
    }

    /// What a node says of its copies. Of images that it is not to have, nothing is kept.
    public func take(_ copies: [ImageCopy], on node: NodeID) throws {
        let wanted = Set(try sql.images.placements(on: node).map(\.image))
        let known = try sql.imageCopies.copies(on: node)
        for copy in copies where wanted.contains(copy.image) && copy.node == node {
            try note(copy, before: known[copy.image])
        }
    }

    func note(_ copy: ImageCopy, before: ImageCopy?) throws {
        guard copy != before else { return }
        try sql.imageCopies.save(copy)
        let corrupt = copy.corruptChunks - (before?.corruptChunks ?? 0)
        guard corrupt > 0, let placement = try sql.images.placement(of: copy.image, on: copy.node) else { return }
        try tell(
            "image.corrupt", placement,
            detail: "\(corrupt) chunk\(corrupt == 1 ? "" : "s") of the copy had rotted on the node's disk; fetched anew"
        )
    }
}
