import AgentReconcile
import ProtocolMessages
import ProtocolModel
import ProtocolTransfer
import SwiftProtobuf

/// Reports that wait for the manager to read: of each instance and image only the newest, so that a slow manager gets
/// fewer messages and never a growing queue.
struct StatusOutbox: Sendable {
    private var isFull = false
    private var instances: [InstanceID: Status] = [:]
    private var images: [ImageID: ImageStatusValue] = [:]
    private var imagesSeen: [ImageID: ImageStatusValue] = [:]
    private var captures: [ImageID: CaptureStatusValue] = [:]
    private var capturesSeen: [ImageID: CaptureStatusValue] = [:]
    private var hostHold: Roost_V1_HostHold?
    private var isLive = false

    var isEmpty: Bool { hostHold == nil && !isFull && instances.isEmpty && images.isEmpty && captures.isEmpty }

    /// A session begins: every image is told about again; the instances follow as a full report.
    mutating func begin() {
        isLive = true
        hostHold = nil
        isFull = false
        instances = [:]
        images = imagesSeen
        captures = capturesSeen
    }

    mutating func end() { isLive = false }

    mutating func add(full: Bool, _ statuses: [Status]) {
        guard isLive else { return }
        if full {
            isFull = true
            instances = [:]
            // What waits is newer, and that an image is gone is told nowhere else.
            images = imagesSeen.merging(images) { _, waiting in waiting }
        }
        for status in statuses { instances[status.instance] = status }
    }

    /// - Parameter isWanted: the manager still assigns the image: that it was evicted is told until it does not.
    mutating func add(_ status: ImageStatusValue, isWanted: Bool) {
        imagesSeen[status.image] = status.state == .removed && !isWanted ? nil : status
        if isLive { images[status.image] = status }
    }

    mutating func add(_ status: CaptureStatusValue) {
        capturesSeen[status.image] = status
        if isLive { captures[status.image] = status }
    }

    /// What the host's own operator says of it.
    mutating func add(_ hold: Roost_V1_HostHold) {
        if isLive { hostHold = hold }
    }

    /// Forgets the images that are not to be made of a disk any more.
    mutating func keepCaptures(_ wanted: Set<ImageID>) {
        captures = captures.filter { wanted.contains($0.key) }
        capturesSeen = capturesSeen.filter { wanted.contains($0.key) }
    }

    /// Tells again how far an image is, for a manager that has only now begun to want it here.
    ///
    /// - Parameter isRenewed: the manager has just asked for it, so that nothing is left to say of its eviction.
    mutating func repeatStatus(of image: ImageID, isRenewed: Bool) {
        if isRenewed, imagesSeen[image]?.state == .removed {
            imagesSeen[image] = nil
            images[image] = nil
        }
        if isLive, let seen = imagesSeen[image] { images[image] = seen }
    }

    /// What there is to tell, as one message.
    mutating func take() -> Roost_V1_StatusReport? {
        guard isLive, !isEmpty else { return nil }
        // By itself and first: from then on nothing more is placed here.
        if let hold = hostHold.take() { return .with { $0.hostHold = hold } }
        defer {
            isFull = false
            instances = [:]
            images = [:]
            captures = [:]
        }
        return .with {
            $0.full = isFull
            $0.instances = instances.values.sorted { $0.instance < $1.instance }.map(\.message)
            $0.images = images.values.sorted { $0.image < $1.image }.map(\.message)
            $0.captures = captures.values.sorted { $0.image < $1.image }.map(\.message)
        }
    }
}
