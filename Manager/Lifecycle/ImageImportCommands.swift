public import ManagerModel
import ManagerStore
public import ProtocolModel

/// How an image comes to its content.
extension Commands {
    /// Records an image that waits for its file.
    ///
    /// - Parameter inherited: properties that it has from elsewhere, where none of that name is given.
    public func createImage(
        name: String, format: String?, minDiskGiB: Int, minRAMMiB: Int, properties given: [String: String],
        inheriting inherited: [String: String] = [:], visibility: Image.Visibility, isProtected: Bool = false,
        expectedBytes: Int64? = nil,
        expectedChecksum: ContentDigest? = nil
    ) throws -> Image {
        guard let person = try actor.user.flatMap({ try sql.users.find($0) }) else {
            throw Refusal(.forbidden, "only a user of this site can own images")
        }
        let owner = person.id
        try Self.check(given, beside: inherited)
        let properties = inherited.merging(given) { $1 }
        try checkQuota(of: person, for: .image)
        let image = Image(
            id: .generate(at: now), name: name, owner: owner, visibility: visibility, format: format,
            minDiskGiB: minDiskGiB, minRAMMiB: minRAMMiB, properties: properties, isProtected: isProtected,
            expectedBytes: expectedBytes, expectedChecksum: expectedChecksum, createdAt: now, updatedAt: now)
        try sql.images.insert(image)
        try event(
            "image.created", ResourceReference(image), owner: owner, changes: Event.differences(from: nil, to: image))
        return image
    }

    /// An upload begins: one at a time, and only while the image has no content.
    ///
    /// - Parameters:
    ///   - manager: who receives the file and keeps it.
    ///   - continuing: it may have begun before: what has arrived is gone on with.
    public func beginUpload(
        _ reference: String, by manager: ManagerID? = nil, continuing: Bool = false
    ) throws -> Image {
        let image = try image(reference)
        try checkOwnership(of: image)
        if image.status == .saving, continuing {
            if let running = try running(image.operation),
                running.parameters[Self.addressParameter] ?? running.parameters[Self.instanceParameter] != nil
            {
                throw conflict(with: running, on: "image '\(image.name)'")
            }
            // Another manager had begun to receive it: here it begins anew, and that one forgets it.
            if let manager, try sql.managers.holder(of: image.id) != manager {
                try sql.managers.hold(image.id, by: manager)
            }
            return image
        }
        return try beginImport(image, parameters: [:], reason: "receiving the file", by: manager, detail: "")
    }

    /// The manager fetches the file itself (IMG-02).
    public func beginFetch(_ id: ImageID, from address: String, by manager: ManagerID) throws -> Image {
        guard let image = try sql.images.find(id) else { throw Refusal.notFound("image", "\(id)") }
        return try beginImport(
            image, parameters: [Self.addressParameter: address], reason: "fetching the file", by: manager,
            // What stands behind ? may be a key to the file, which the log is not told.
            detail: "from \(address.prefix { $0 != "?" })")
    }

    /// In an import's operation: where the file is fetched from, and the entity tag of what has been fetched.
    public static let addressParameter = "url"
    public static let entityTagParameter = "etag"

    /// What is being fetched has this entity tag: the rest of it can be asked for after a restart.
    public func noteEntityTag(_ id: ImageID, _ tag: String?) throws {
        guard var operation = try sql.images.find(id)?.operation.flatMap({ try sql.operations.find($0) }),
            operation.status == .running, operation.parameters[Self.entityTagParameter] != tag
        else { return }
        operation.parameters[Self.entityTagParameter] = tag
        try sql.operations.update(operation)
    }

    func beginImport(
        _ present: Image, parameters: [String: String], reason: String, by manager: ManagerID?, detail: String
    ) throws -> Image {
        var image = present
        guard image.status == .queued || image.status == .error else {
            if let running = try runningImport(of: image) { throw conflict(with: running, on: "image '\(image.name)'") }
            throw Refusal(
                .conflict, "image '\(image.name)' is \(image.status.rawValue); only a queued one takes a file")
        }
        image.status = .saving
        image.statusReason = reason
        image.progress = 0
        image.uploadBytes = 0
        image.checksum = nil
        image.operation = try beginOperation(
            .imageImport, ResourceReference(image), owner: image.owner, parameters: parameters
        ).id
        try save(&image)
        if let manager { try sql.managers.hold(image.id, by: manager) }
        try changed(image, from: present, "image.saving", detail: detail)
        return image
    }

    /// How much of a file has arrived. Of the whole import, its arrival is the first two fifths.
    ///
    /// - Parameter reason: why no more comes just now, where that is so.
    public func noteArrival(_ id: ImageID, bytes: Int64, of expected: Int64?, reason: String? = nil) throws {
        guard var image = try sql.images.find(id), image.status == .saving else { return }
        image.uploadBytes = bytes
        if let expected, expected > 0 {
            image.progress = max(
                image.progress, Int(Double(Self.arrivalPercent) * min(1, Double(bytes) / Double(expected))))
        }
        let isFetched = try running(image.operation)?.parameters[Self.addressParameter] != nil
        image.statusReason = reason ?? (isFetched ? "fetching the file" : "receiving the file")
        try save(&image)
        if var operation = try running(image.operation) {
            operation.note(step: "receive", "\(bytes)" + (expected.map { " of \($0)" } ?? "") + " bytes", at: now)
            operation.progress = image.progress
            try sql.operations.update(operation)
        }
    }

    private static let arrivalPercent = 40

    /// The file is complete and was inspected: conversion runs.
    public func beginConversion(_ id: ImageID, uploadBytes: Int64, checksum: ContentDigest) throws -> Image {
        guard var image = try sql.images.find(id), image.status == .saving else {
            throw Refusal(.conflict, "the image was removed while its file arrived")
        }
        let before = image
        image.status = .converting
        image.statusReason = "being converted"
        image.progress = Self.arrivalPercent
        image.uploadBytes = uploadBytes
        image.checksum = checksum
        try save(&image)
        try changed(image, from: before, "image.converting")
        return image
    }

    /// - Parameter percent: of the conversion.
    public func noteImageProgress(_ id: ImageID, percent: Int, detail: String) throws {
        guard var image = try sql.images.find(id), image.status == .converting else { return }
        let whole = Self.arrivalPercent + percent * (100 - Self.arrivalPercent) / 100
        image.progress = max(image.progress, min(99, whole))
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

    /// After a restart: a file of which nothing is there is not gone on with, and one that is gone is not converted.
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
}
