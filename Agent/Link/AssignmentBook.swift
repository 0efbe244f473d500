public import AgentReconcile
import Foundation
public import ProtocolMessages
public import ProtocolModel
public import ProtocolTransfer
import SwiftProtobuf

/// The desired set of this host, as last persisted. A pure value: what a message does to it is decided here, what is then
/// done about it elsewhere.
public struct AssignmentBook: Sendable, Equatable {
    public private(set) var revision: UInt64 = 0
    public private(set) var instances: [InstanceID: Roost_V1_InstanceAssignment] = [:]
    public private(set) var images: [ImageID: Roost_V1_ImageAssignment] = [:]
    /// `nil`: the manager has never said any.
    public private(set) var transferLimits: TransferLimitsValue?
    /// Images that are to be made of disks of this host, by image.
    public private(set) var captures: [CaptureAssignmentValue] = []

    /// What a set changed, in the words of those who act on it.
    public struct Change: Sendable, Equatable {
        public var instances: AssignmentChange
        public var images: [ImageAssignmentValue]
        public var removedImages: [ImageID]
        /// All that are wanted; `nil`: as before.
        public var captures: [CaptureAssignmentValue]?
    }

    public enum Refusal: Error, Equatable, CustomStringConvertible {
        /// A delta to a set that is not ours; the manager sends the whole set at the start of a session.
        case baseDiffers(ours: UInt64, theirs: UInt64)
        case malformed(String)

        public var description: String {
            switch self {
            case .baseDiffers(let ours, let theirs):
                "the manager sent changes to revision \(theirs), but this host is at \(ours)"
            case .malformed(let what): "the manager sent \(what)"
            }
        }
    }

    public init() {}

    /// Takes over a message, all of it or nothing.
    public mutating func apply(_ set: Roost_V1_AssignmentSet) throws(Refusal) -> Change {
        var next = self
        var changed: [Assignment] = []
        if set.full {
            next.instances = [:]
            next.images = [:]
            next.captures = []
        } else if set.baseRevision != revision {
            throw .baseDiffers(ours: revision, theirs: set.baseRevision)
        }
        for message in set.instances {
            let assignment = try Assignment(message)
            changed.append(assignment)
            next.instances[assignment.instance] = message
        }
        var removed: [InstanceID] = []
        for bytes in set.removedInstances {
            guard let id = InstanceID(bytes: bytes) else {
                throw .malformed("a removed instance without an identifier")
            }
            removed.append(id)
            next.instances[id] = nil
        }
        for message in set.images {
            guard let image = ImageAssignmentValue(message) else { throw .malformed("an image that makes no sense") }
            next.images[image.image] = message
        }
        var removedImages: [ImageID] = []
        for bytes in set.removedImages {
            guard let id = ImageID(bytes: bytes) else { throw .malformed("a removed image without an identifier") }
            removedImages.append(id)
            next.images[id] = nil
        }
        if set.hasCaptures { next.captures = try Self.captures(set.captures) }
        if set.hasTransferLimits { next.transferLimits = TransferLimitsValue(set.transferLimits) }
        next.revision = set.revision
        self = next
        return Change(
            instances: set.full ? .full(changed) : .delta(changed: changed, removed: removed),
            images: next.images.values.compactMap { ImageAssignmentValue($0) }, removedImages: removedImages,
            captures: set.full || set.hasCaptures ? next.captures : nil)
    }

    private static func captures(_ set: Roost_V1_CaptureSet) throws(Refusal) -> [CaptureAssignmentValue] {
        var captures: [ImageID: CaptureAssignmentValue] = [:]
        for message in set.captures {
            guard let capture = CaptureAssignmentValue(message) else {
                throw .malformed("an image to be made of a disk without identifiers")
            }
            captures[capture.image] = capture
        }
        return captures.values.sorted { $0.image < $1.image }
    }

    /// The images that guests are made from which are to stay.
    var imagesOfGuests: [InstanceID: ImageID] {
        instances.filter { $0.value.desired != .deleted }.compactMapValues { ImageID(bytes: $0.imageID) }
    }

    /// The whole set as one message, in a fixed order.
    public var message: Roost_V1_AssignmentSet {
        .with {
            $0.revision = revision
            $0.full = true
            $0.instances = instances.sorted { $0.key < $1.key }.map(\.value)
            $0.images = images.sorted { $0.key < $1.key }.map(\.value)
            if let transferLimits { $0.transferLimits = transferLimits.message }
            if !captures.isEmpty { $0.captures.captures = captures.map(\.message) }
        }
    }
}

extension Assignment {
    init(_ message: Roost_V1_InstanceAssignment) throws(AssignmentBook.Refusal) {
        guard let instance = InstanceID(bytes: message.instanceID), let image = ImageID(bytes: message.imageID) else {
            throw .malformed("an instance without identifiers")
        }
        let desired: Desired
        switch message.desired {
        case .running: desired = .running
        case .stopped: desired = .stopped
        case .deleted: desired = .deleted
        case .unspecified, .UNRECOGNIZED: throw .malformed("instance \(instance) without a desired state")
        }
        guard message.userData.count <= Limits.userDataBytes, message.sshKeys.count <= 256,
            message.devices.count <= 256, message.hardware.count <= GuestHardware.maximumSettings,
            message.hardware.allSatisfy({ $0.key.utf8.count <= 64 && $0.value.utf8.count <= 64 })
        else {
            throw .malformed("more data for instance \(instance) than a guest may have")
        }
        let place = try DomainPlace(message)
        self.init(
            instance: instance, epoch: Epoch(message.epoch), generation: Generation(message.generation),
            desired: desired, powerCycle: PowerCycle(message.powerCycle), force: message.force, image: image,
            bootTimeout: Self.timeout(message.bootTimeoutSeconds, none: 0),
            stopTimeout: Self.timeout(message.stopTimeoutSeconds, none: nil),
            probesReadiness: message.readinessProbe,
            guest: GuestDescription(
                name: message.name, hostName: message.hostName, vcpus: Int(message.vcpus),
                memoryBytes: message.memoryBytes, diskBytes: message.diskBytes, macAddress: message.macAddress,
                ipAddress: message.ipAddress, sshKeys: message.sshKeys, userData: Array(message.userData),
                metadata: message.metadata, serviceURL: message.serviceURL.isEmpty ? nil : message.serviceURL,
                owner: message.owner,
                devices: message.devices.map { AssignedDevice(address: $0.address, alias: $0.alias) },
                hardware: message.hardware))
        guest.place = place
        restartsElsewhere = message.restartsElsewhere
    }

    /// The largest number stands for no limit.
    private static func timeout(_ seconds: UInt32, none: UInt32?) -> Duration? {
        seconds == .max || seconds == none ? nil : .seconds(Int64(seconds))
    }
}

extension DomainPlace {
    fileprivate init(_ message: Roost_V1_InstanceAssignment) throws(AssignmentBook.Refusal) {
        self.init()
        guard message.hasPlace else { return }
        let place = message.place
        let nonsense = AssignmentBook.Refusal.malformed("a place on this host for an instance that makes no sense")
        guard let all = ProcessorSet(place.sharedProcessors), place.cells.count <= 64,
            place.pageBytes % 1024 == 0, place.pageBytes <= 1 << 40
        else { throw nonsense }
        // Text alone cannot tell none from all.
        guard !place.sharesNone || all.isEmpty else { throw nonsense }
        shared = place.sharedProcessors.isEmpty && !place.sharesNone ? nil : all
        pageBytes = place.pageBytes
        for cell in place.cells {
            guard let own = ProcessorSet(cell.sharedProcessors), cell.hostCell < 4096, (1...4096).contains(cell.vcpus),
                cell.processors.isEmpty || cell.processors.count == Int(cell.vcpus),
                cell.processors.allSatisfy({ $0 <= ProcessorSet.largest }), cell.memoryBytes <= 1 << 50
            else { throw nonsense }
            cells.append(
                Cell(
                    host: Int(cell.hostCell), vcpus: Int(cell.vcpus), memoryBytes: cell.memoryBytes,
                    processors: cell.processors.map(Int.init), shared: own))
        }
        // All of the guest lies somewhere, and on no processor twice.
        let processors = cells.flatMap(\.processors)
        let memory = cells.reduce(UInt64(0)) { $0 + $1.memoryBytes }
        guard
            cells.isEmpty
                || (cells.reduce(0) { $0 + $1.vcpus } == Int(message.vcpus) && memory == message.memoryBytes
                    && Set(processors).count == processors.count)
        else { throw nonsense }
    }
}
