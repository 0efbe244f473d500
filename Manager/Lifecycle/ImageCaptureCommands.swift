public import ManagerModel
import ManagerStore
public import ProtocolModel
public import ProtocolTransfer

/// Images of instances' disks: the node that has the disk copies it, and the manager that was asked pulls the copy.
extension Commands {
    /// In an import's operation: the instance whose disk it is.
    public static let instanceParameter = "instance"

    /// Records an image that is to be made of an instance's disk, as the disk is at one moment from now on.
    ///
    /// What is not given of its properties and RAM is taken over from the image that the instance was made from. It is private
    /// unless something else is asked for, since a disk may hold secrets.
    ///
    /// - Parameter manager: who pulls the copy, and keeps the image.
    /// - Throws: `Refusal`: `not_found` for an instance that the actor may not see, `conflict`, `node_disabled`.
    public func captureImage(
        name: String, from reference: String, minDiskGiB: Int, minRAMMiB: Int?, properties: [String: String],
        visibility: Image.Visibility?, isProtected: Bool = false, by manager: ManagerID
    ) throws -> Image {
        let instance = try instance(reference)
        let node = try node(ofDiskOf: instance)
        let source = try sql.images.find(instance.image)
        let created = try createImage(
            name: name, format: "raw", minDiskGiB: minDiskGiB, minRAMMiB: minRAMMiB ?? source?.minRAMMiB ?? 0,
            properties: properties, inheriting: Self.properties(of: source, for: instance),
            visibility: visibility ?? .private,
            isProtected: isProtected)
        let image = try beginImport(
            created, parameters: [Self.instanceParameter: "\(instance.id)"],
            reason: "node '\(node.name)' copies the disk of instance '\(instance.name)'", by: manager,
            detail: "from the disk of instance \(instance.id)")
        try sql.imageCaptures.insert(
            ImageCapture(image: image.id, instance: instance.id, node: node.id, requestedAt: now))
        return image
    }

    /// The source's properties, but of hardware what the guest has: its disk was set up for that, whatever its image says by now.
    private static func properties(of source: Image?, for instance: Instance) -> [String: String] {
        var properties = source?.properties ?? [:]
        var hardware = GuestHardware()
        for property in GuestHardware.Property.allCases {
            guard let value = properties[property.rawValue] else { continue }
            // What it cannot mean, it never meant for a guest.
            if (try? hardware.take(value, for: property)) == nil { properties[property.rawValue] = nil }
        }
        let said = hardware.settings
        for property in GuestHardware.Property.allCases {
            let name = property.rawValue
            let own = instance.hardware[name]
            guard own != said[name] else { continue }
            switch property {
            // How processors are arranged depends on the flavor, and the system is the disk's own.
            case .sockets, .cores, .threads, .system: if let own { properties[name] = own }
            default: properties[name] = own
            }
        }
        return properties
    }

    /// The node that can copy an instance's disk now.
    private func node(ofDiskOf instance: Instance) throws -> Node {
        let what = "instance '\(instance.name)'"
        switch instance.status {
        case .deleting, .deleted:
            throw Refusal(.conflict, "\(what) is being deleted, and its disk with it", operation: instance.operation)
        case .queued, .building:
            throw Refusal(
                .conflict, "\(what) is still being built; wait until it is ACTIVE", operation: instance.operation)
        case .active, .stopping, .stopped, .rebooting, .migrating, .error: break
        }
        if let other = try sql.imageCaptures.list(of: instance.id).first(where: { $0.state == .copying }) {
            let image = try sql.images.find(other.image)
            throw Refusal(
                .conflict,
                "image '\(image?.name ?? "\(other.image)")' is being made of the disk of \(what) already; wait for it",
                operation: image?.operation)
        }
        guard let place = instance.node, let node = try sql.nodes.find(place) else {
            throw Refusal.notFound("node", instance.node.map { "\($0)" } ?? "")
        }
        guard node.enabled else {
            throw Refusal(
                .nodeDisabled, "node '\(node.name)', which holds the disk of \(what), is disabled; enable it first")
        }
        guard node.liveness == .alive else {
            throw Refusal(
                .conflict,
                "node '\(node.name)', which holds the disk of \(what), is \(node.liveness.rawValue); try again when it is back"
            )
        }
        guard node.inventory.copiesDisks == true else { throw Self.cannotCopy(node) }
        return node
    }

    private static func cannotCopy(_ node: Node) -> Refusal {
        Refusal(
            .conflict,
            "the agent of node '\(node.name)' (version \(node.softwareVersion.isEmpty ? "unknown" : node.softwareVersion)) "
                + "cannot copy disks: it is too old, or its guests are simulated; upgrade it and try again",
            detailCode: "agent_too_old")
    }

    // MARK: What comes of it

    /// The manager has all of a copy: the image can be used, and the node forgets it.
    ///
    /// - Throws: `Refusal` `conflict` where the image, or this copy of it, is not wanted any more.
    public func finishCapture(_ id: ImageID, manifestDigest: ContentDigest, sizeBytes: Int64) throws {
        guard let capture = try sql.imageCaptures.find(id), capture.manifestDigest == manifestDigest,
            var image = try sql.images.find(id), image.status == .saving
        else { throw Refusal(.conflict, "the image was removed, or its disk is copied anew") }
        let before = image
        try sql.imageCaptures.remove(capture)
        image.status = .active
        image.statusReason = ""
        image.progress = 100
        image.format = "raw"
        image.sizeBytes = sizeBytes
        image.uploadBytes = sizeBytes
        image.manifestDigest = manifestDigest
        try save(&image)
        try finishOperation(image.operation)
        try changed(image, from: before, "image.active")
    }

    /// The image cannot be made; nothing where it is not being made.
    public func failCapture(_ id: ImageID, code: String, sentence: String) throws {
        guard let capture = try sql.imageCaptures.find(id) else { return }
        try sql.imageCaptures.remove(capture)
        try failImport(id, code: code, sentence: sentence)
    }

    /// How far the pulling of a copy is. Copying is the first two fifths of the whole, as a file's arrival is elsewhere.
    public func noteCapturePull(_ id: ImageID, percent: Int) throws {
        try noteCapture(
            id, progress: 40 + percent * 59 / 100, step: "pull", "\(percent) % of the copy are here",
            reason: "the manager pulls the copy of the disk")
    }

    /// - Parameter reason: what the image shows while it is so; `nil`: as before.
    func noteCapture(_ id: ImageID, progress: Int, step: String, _ detail: String, reason: String? = nil) throws {
        guard var image = try sql.images.find(id), image.status == .saving else { return }
        image.progress = min(99, progress)
        if let reason { image.statusReason = reason }
        try save(&image)
        if var operation = try running(image.operation) {
            operation.note(step: step, detail, at: now)
            operation.progress = max(operation.progress, image.progress)
            try sql.operations.update(operation)
        }
    }

    /// The instance's disk goes: images that are not copied from it yet will never be.
    func endCaptures(of instance: InstanceID) throws {
        for capture in try sql.imageCaptures.list(of: instance) where capture.state == .copying {
            try failCapture(
                capture.image, code: "instance_deleted",
                sentence: "the instance was deleted before its disk was copied")
        }
    }
}

extension FleetReports {
    /// What a node says of images that it makes of disks. It speaks only for those that are wanted of it.
    public func observe(_ seen: [CaptureStatusValue], on node: NodeID) throws {
        for observed in seen {
            guard var capture = try sql.imageCaptures.find(observed.image), capture.node == node else { continue }
            let before = capture
            switch observed.state {
            case .copying(let percent):
                // One that was ready before was lost, and is copied anew.
                capture.state = .copying
                capture.manifestDigest = nil
                capture.sizeBytes = nil
                let detail = observed.reason.isEmpty ? "\(percent) % of the disk are copied" : observed.reason
                try commands.noteCapture(
                    capture.image, progress: percent * 40 / 100, step: "copy", detail,
                    reason: observed.reason.isEmpty ? "the disk is being copied on its host" : observed.reason)
            case .ready(let digest, let size):
                capture.state = .ready
                capture.manifestDigest = digest
                capture.sizeBytes = size
                if before.state != .ready {
                    try commands.noteCapture(
                        capture.image, progress: 40, step: "copy", "the disk is copied",
                        reason: "the manager is about to pull the copy of the disk")
                }
            case .failed:
                try commands.failCapture(
                    capture.image, code: observed.code.isEmpty ? "capture_failed" : observed.code,
                    sentence: observed.reason)
                continue
            }
            if capture != before { try sql.imageCaptures.update(capture) }
        }
    }

    /// People should know what they wait for.
    func noteCaptures(onDown node: Node) throws {
        for capture in try sql.imageCaptures.list(on: node.id) {
            guard let image = try sql.images.find(capture.image) else { continue }
            try commands.noteCapture(
                image.id, progress: image.progress, step: capture.state == .ready ? "pull" : "copy", "the node is down",
                reason: "node '\(node.name)', which has the disk, is down; it goes on when the node comes back")
        }
    }

    /// An agent that cannot copy disks, as one that was put back to an older version, never will.
    func endCaptures(on node: Node) throws {
        guard node.inventory.copiesDisks != true else { return }
        for capture in try sql.imageCaptures.list(on: node.id) {
            try commands.failCapture(
                capture.image, code: "agent_too_old",
                sentence:
                    "the agent of node '\(node.name)' cannot copy disks any more; upgrade it, and make the image again")
        }
    }
}
