import Foundation
public import ProtocolMessages
public import ProtocolModel

/// An image that is to be made of an instance's disk, on the host that has the disk.
public struct CaptureAssignmentValue: Hashable, Sendable {
    public var image: ImageID
    public var instance: InstanceID

    public init(image: ImageID, instance: InstanceID) {
        self.image = image
        self.instance = instance
    }

    /// Reads a message; `nil` where an identifier makes no sense.
    public init?(_ message: Roost_V1_CaptureAssignment) {
        guard let image = ImageID(bytes: message.imageID), let instance = InstanceID(bytes: message.instanceID) else {
            return nil
        }
        self.init(image: image, instance: instance)
    }

    public var message: Roost_V1_CaptureAssignment {
        var message = Roost_V1_CaptureAssignment()
        message.imageID = Data(image.bytes)
        message.instanceID = Data(instance.bytes)
        return message
    }
}

/// How far a host is with an image of a disk.
public struct CaptureStatusValue: Hashable, Sendable {
    public enum State: Hashable, Sendable {
        /// Or waiting for its turn.
        case copying(percent: Int)
        /// The copy lies on the host, and can be pulled.
        case ready(manifestDigest: ContentDigest, sizeBytes: Int64)
        /// It is not tried again.
        case failed
    }

    public var image: ImageID
    public var state: State
    /// For programs; empty where nothing is wrong.
    public var code: String
    /// For people: why it failed, or waits.
    public var reason: String

    public init(image: ImageID, state: State, code: String = "", reason: String = "") {
        self.image = image
        self.state = state
        self.code = code
        self.reason = reason
    }

    /// Reads a message; `nil` where an identifier, a digest or a size makes no sense.
    public init?(_ message: Roost_V1_CaptureStatus) {
        guard let image = ImageID(bytes: message.imageID) else { return nil }
        let state: State
        switch message.state {
        case .copying: state = .copying(percent: Int(min(message.percent, 100)))
        case .ready:
            guard let digest = ContentDigest(bytes: message.manifestDigest), message.sizeBytes >= 1,
                message.sizeBytes <= UInt64(Limits.imageBytes)
            else { return nil }
            state = .ready(manifestDigest: digest, sizeBytes: Int64(message.sizeBytes))
        case .failed: state = .failed
        case .unspecified, .UNRECOGNIZED: return nil
        }
        self.init(
            image: image, state: state, code: String(message.reasonCode.prefix(64)),
            reason: String(message.reason.prefix(1000)))
    }

    public var message: Roost_V1_CaptureStatus {
        var message = Roost_V1_CaptureStatus()
        message.imageID = Data(image.bytes)
        switch state {
        case .copying(let percent):
            message.state = .copying
            message.percent = UInt32(clamping: percent)
        case .ready(let digest, let size):
            message.state = .ready
            message.percent = 100
            message.manifestDigest = Data(digest.bytes)
            message.sizeBytes = UInt64(clamping: size)
        case .failed: message.state = .failed
        }
        message.reasonCode = code
        message.reason = reason
        return message
    }
}
