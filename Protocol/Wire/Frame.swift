/// What a frame carries. Numbers are never used again (SPEC §3).
public struct FrameType: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt8

    public init(rawValue: UInt8) { self.rawValue = rawValue }

    // Session
    public static let hello = Self(rawValue: 0x01)
    public static let welcome = Self(rawValue: 0x02)
    public static let goodbye = Self(rawValue: 0x03)
    public static let heartbeat = Self(rawValue: 0x04)
    public static let heartbeatAcknowledgement = Self(rawValue: 0x05)
    // Enrolment
    public static let enrolmentRequest = Self(rawValue: 0x10)
    public static let enrolmentAnswer = Self(rawValue: 0x11)
    // Inventory
    public static let inventory = Self(rawValue: 0x20)
    // Assignments
    public static let assignmentSet = Self(rawValue: 0x30)
    public static let assignmentAcknowledgement = Self(rawValue: 0x31)
    // Status
    public static let statusReport = Self(rawValue: 0x40)
    // Usage
    public static let usageBatch = Self(rawValue: 0x50)
    public static let usageAcknowledgement = Self(rawValue: 0x51)
    // Multiplexed streams
    public static let streamOpen = Self(rawValue: 0x60)
    public static let streamCredit = Self(rawValue: 0x61)
    public static let streamClose = Self(rawValue: 0x62)
    public static let streamData = Self(rawValue: 0x63)
    // Chunk connections
    public static let manifestRequest = Self(rawValue: 0x70)
    public static let manifestAnswer = Self(rawValue: 0x71)
    public static let chunkRequest = Self(rawValue: 0x72)
    public static let chunkAnswer = Self(rawValue: 0x73)
    public static let chunkRefusal = Self(rawValue: 0x74)
    public static let chunkWaiting = Self(rawValue: 0x75)

    /// Every type of this version of the protocol.
    public static let all: [FrameType] = [
        .hello, .welcome, .goodbye, .heartbeat, .heartbeatAcknowledgement, .enrolmentRequest, .enrolmentAnswer,
        .inventory, .assignmentSet, .assignmentAcknowledgement, .statusReport, .usageBatch, .usageAcknowledgement,
        .streamOpen, .streamCredit, .streamClose, .streamData, .manifestRequest, .manifestAnswer, .chunkRequest,
        .chunkAnswer, .chunkRefusal, .chunkWaiting,
    ]

    private static let known = Set(all)

    /// Whether this version of the protocol knows the type.
    public var isKnown: Bool { Self.known.contains(self) }

    /// Whether the frame belongs to a stream; all others carry stream 0.
    public var isStream: Bool { (0x60...0x63).contains(rawValue) }
}

/// How a frame's payload is to be read.
public struct FrameFlags: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8

    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The payload is one zstd frame (RFC 8878). Refused unless both sides negotiated it.
    public static let zstd = Self(rawValue: 0x01)
}

/// The unit of transport: a header of eight bytes, then the payload.
public struct Frame: Hashable, Sendable {
    /// length u32, type u8, flags u8, stream u16; all big endian. The length counts the payload alone.
    public static let headerBytes = 8

    public var type: FrameType
    public var flags: FrameFlags
    public var stream: UInt16
    public var payload: [UInt8]

    public init(type: FrameType, flags: FrameFlags = [], stream: UInt16 = 0, payload: [UInt8] = []) {
        self.type = type
        self.flags = flags
        self.stream = stream
        self.payload = payload
    }
}

/// Writes frames.
public enum FrameEncoder {
    /// The frame's bytes. A payload beyond `UInt32` cannot be framed; `Limits.framePayloadBytes` is far below, and
    /// `Message.encoded()` refuses what is above that.
    public static func encode(_ frame: Frame) -> [UInt8] {
        let length = UInt32(frame.payload.count)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Frame.headerBytes + frame.payload.count)
        for shift in [24, 16, 8, 0] { bytes.append(UInt8(truncatingIfNeeded: length >> UInt32(shift))) }
        bytes.append(frame.type.rawValue)
        bytes.append(frame.flags.rawValue)
        bytes.append(UInt8(truncatingIfNeeded: frame.stream >> 8))
        bytes.append(UInt8(truncatingIfNeeded: frame.stream))
        bytes.append(contentsOf: frame.payload)
        return bytes
    }
}
