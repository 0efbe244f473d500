public import ManagerModel
import ManagerStore
import ProtocolModel

extension Commands {
    /// Removes an image that no instance depends on; nodes drop their copies when they next hear of it.
    /// One whose file still arrives is deleted with what has come of it.
    public func deleteImage(_ reference: String) throws -> Image {
        var image = try image(reference)
        try checkOwnership(of: image)
        guard !image.isProtected else {
            throw Refusal(
                .conflict,
                "image '\(image.name)' is protected; take the protection away first ('roost image unset --protected')",
                detailCode: "image_protected")
        }
        if image.status != .saving, let running = try runningImport(of: image) {
            throw conflict(with: running, on: "image '\(image.name)'")
        }
        if let running = try runningPrefill(of: image.id) { throw conflict(with: running, on: "image '\(image.name)'") }
        let users = try sql.instances.count(image: image.id)
        guard users == 0 else {
            throw Refusal(
                .inUse, "\(users) instance\(users == 1 ? "" : "s") depend on image '\(image.name)'; delete them first")
        }
        for var placement in try sql.images.placements(of: image.id) {
            placement.state = .removing
            placement.upstream = nil
            placement.updatedAt = now
            try sql.images.update(placement, assigned: true)
        }
        if let capture = try sql.imageCaptures.find(image.id) { try sql.imageCaptures.remove(capture) }
        let before = image
        image.status = .deleted
        image.statusReason = "deleted"
        image.updatedAt = now
        try sql.images.finishDeletion(image)
        try sql.images.unshare(image.id)
        try finishOperation(image.operation, errorCode: "cancelled", detail: "the image was deleted")
        try event(
            "image.deleted", ResourceReference(image), owner: image.owner,
            changes: Event.differences(from: before, to: nil))
        return image
    }

    /// Why an image serves nothing yet, and the operation that may change that.
    func notReady(_ image: Image) throws -> Refusal {
        Refusal(
            .imageNotReady,
            "image '\(image.name)' is \(image.status.rawValue), not active"
                + (image.statusReason.isEmpty ? "" : ": \(image.statusReason)"),
            operation: try runningImport(of: image)?.id)
    }

    func runningImport(of image: Image) throws -> Operation? { try running(image.operation) }

    func running(_ id: OperationID?) throws -> Operation? {
        try id.flatMap { try sql.operations.find($0) }.flatMap { $0.status == .running ? $0 : nil }
    }

    func changed(_ image: Image, from old: Image, _ kind: String, detail: String = "") throws {
        try event(
            kind, ResourceReference(image), owner: image.owner, detail: detail, operation: image.operation,
            changes: Event.differences(from: old, to: image))
    }

    /// - Throws: `Refusal` `forbidden` where the actor's right to change images does not reach this one.
    public func checkOwnership(of image: Image) throws {
        guard try actor.rights.allows(.imageChange, ownership(of: image.owner)) else {
            throw Refusal(
                .forbidden,
                "only its owner, the owner of the account or a superuser may change image '\(image.name)'")
        }
    }

    func save(_ image: inout Image) throws {
        image.updatedAt = now
        try sql.images.update(image)
    }

    func finishOperation(_ id: OperationID?, errorCode: String? = nil, detail: String? = nil) throws {
        guard var operation = try id.flatMap({ try sql.operations.find($0) }) else { return }
        operation.finish(errorCode: errorCode, detail: detail, at: now)
        try sql.operations.update(operation)
    }
}
