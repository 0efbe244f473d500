public import ManagerModel
import ManagerStore
public import ProtocolModel

extension Commands {
    /// Records an image that waits for its file.
    public func createImage(
        name: String, format: String?, minDiskGiB: Int, minRAMMiB: Int, properties: [String: String],
        visibility: Image.Visibility
    ) throws -> Image {
        guard let owner = actor.user else { throw Refusal(.forbidden, "only a user of this site can own images") }
        let image = Image(
            id: .generate(at: now), name: name, owner: owner, visibility: visibility, format: format,
            minDiskGiB: minDiskGiB,
            minRAMMiB: minRAMMiB, properties: properties, createdAt: now, updatedAt: now)
        try sql.images.insert(image)
        try event(
            "image.created", ResourceReference(image), owner: owner, changes: Event.differences(from: nil, to: image))
        return image
    }

    /// An upload begins: one at a time, and only while the image has no content.
    ///
    /// - Parameter manager: who receives the file and keeps it.
    public func beginUpload(_ reference: String, by manager: ManagerID? = nil) throws -> Image {
        var image = try image(reference)
        try checkOwnership(of: image)
        guard image.status == .queued || image.status == .error else {
            if let running = try runningImport(of: image) { throw conflict(with: running, on: "image '\(image.name)'") }
            throw Refusal(
                .conflict, "image '\(image.name)' is \(image.status.rawValue); only a queued one takes a file")
        }
        let before = image
        image.status = .saving
        image.statusReason = "receiving the file"
        image.operation = try beginOperation(.imageImport, ResourceReference(image), owner: image.owner).id
        try save(&image)
        if let manager { try sql.managers.hold(image.id, by: manager) }
        try changed(image, from: before, "image.saving")
        return image
    }

    /// The file is complete and was inspected: conversion runs.
    public func beginConversion(_ id: ImageID, uploadBytes: Int64, checksum: ContentDigest) throws -> Image {
        guard var image = try sql.images.find(id), image.status == .saving else {
            throw Refusal(.conflict, "the image was removed while its file arrived")
        }
        let before = image
        image.status = .converting
        image.statusReason = "being converted"
        image.uploadBytes = uploadBytes
        image.checksum = checksum
        try save(&image)
        try changed(image, from: before, "image.converting")
        return image
    }

    public func noteImageProgress(_ id: ImageID, percent: Int, detail: String) throws {
        guard var image = try sql.images.find(id), image.status == .converting || image.status == .saving else {
            return
        }
        image.progress = max(image.progress, min(99, percent))
        try save(&image)
        if var operation = try image.operation.flatMap({ try sql.operations.find($0) }) {
            operation.note(step: "convert", detail, at: now)
            operation.progress = image.progress
            try sql.operations.update(operation)
        }
    }

    /// What conversion found out about an image.
    public struct ImportResult: Sendable, Equatable {
        public var format: String
        public var sizeBytes: Int64
        public var manifestDigest: ContentDigest

        public init(format: String, sizeBytes: Int64, manifestDigest: ContentDigest) {
            self.format = format
            self.sizeBytes = sizeBytes
            self.manifestDigest = manifestDigest
        }
    }

    public func finishImport(_ id: ImageID, _ result: ImportResult) throws {
        guard var image = try sql.images.find(id), image.status == .converting else {
            throw Refusal(.conflict, "the image was removed while it was converted")
        }
        let before = image
        image.status = .active
        image.statusReason = ""
        image.progress = 100
        image.format = result.format
        image.sizeBytes = result.sizeBytes
        image.manifestDigest = result.manifestDigest
        try save(&image)
        try finishOperation(image.operation)
        try changed(image, from: before, "image.active")
    }

    public func failImport(_ id: ImageID, code: String, sentence: String) throws {
        guard var image = try sql.images.find(id), [.saving, .converting, .queued].contains(image.status) else {
            return
        }
        let before = image
        image.status = .error
        image.statusReason = sentence
        try save(&image)
        try finishOperation(image.operation, errorCode: code, detail: sentence)
        try changed(image, from: before, "image.error", detail: sentence)
    }

    /// After a restart: nobody sends the rest of a file that was on its way, and one that is gone is not converted.
    ///
    /// - Parameters:
    ///   - resumable: images whose import goes on.
    ///   - manager: who was restarted; what others receive is their own affair.
    public func failInterruptedImports(except resumable: Set<ImageID>, of manager: ManagerID) throws {
        for status in [Image.Status.saving, .converting] {
            for image in try sql.images.list(status: status) where !resumable.contains(image.id) {
                if let holder = try sql.managers.holder(of: image.id), holder != manager { continue }
                try failImport(
                    image.id, code: "interrupted",
                    sentence: "the manager was restarted during the import; upload it again")
            }
        }
    }

    public func updateImage(
        _ reference: String, name: String?, visibility: Image.Visibility?, properties: [String: String]?,
        minDiskGiB: Int?,
        minRAMMiB: Int?
    ) throws -> Image {
        var image = try image(reference)
        try checkOwnership(of: image)
        let before = image
        if let name { image.name = name }
        if let visibility { image.visibility = visibility }
        if let properties { image.properties = properties }
        if let minDiskGiB { image.minDiskGiB = minDiskGiB }
        if let minRAMMiB { image.minRAMMiB = minRAMMiB }
        try save(&image)
        try event(
            "image.updated", ResourceReference(image), owner: image.owner,
            changes: Event.differences(from: before, to: image))
        return image
    }

    /// Removes an image that no instance depends on; nodes drop their copies when they next hear of it.
    public func deleteImage(_ reference: String) throws -> Image {
        var image = try image(reference)
        try checkOwnership(of: image)
        if let running = try runningImport(of: image) ?? runningPrefill(of: image.id) {
            throw conflict(with: running, on: "image '\(image.name)'")
        }
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
        let before = image
        image.status = .deleted
        image.statusReason = "deleted"
        try save(&image)
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

    private func runningImport(of image: Image) throws -> Operation? { try running(image.operation) }

    private func running(_ id: OperationID?) throws -> Operation? {
        try id.flatMap { try sql.operations.find($0) }.flatMap { $0.status == .running ? $0 : nil }
    }

    private func changed(_ image: Image, from old: Image, _ kind: String, detail: String = "") throws {
        try event(
            kind, ResourceReference(image), owner: image.owner, detail: detail, operation: image.operation,
            changes: Event.differences(from: old, to: image))
    }

    private func checkOwnership(of image: Image) throws {
        guard actor.isSuperuser || image.owner == actor.user else {
            throw Refusal(.forbidden, "only its owner or a superuser may change image '\(image.name)'")
        }
    }

    private func save(_ image: inout Image) throws {
        image.updatedAt = now
        try sql.images.update(image)
    }

    private func finishOperation(_ id: OperationID?, errorCode: String? = nil, detail: String? = nil) throws {
        guard var operation = try id.flatMap({ try sql.operations.find($0) }) else { return }
        operation.finish(errorCode: errorCode, detail: detail, at: now)
        try sql.operations.update(operation)
    }
}
