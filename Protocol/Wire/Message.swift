public import ProtocolMessages
public import ProtocolModel
public import SwiftProtobuf

/// One message of a control connection (port 7401).
public enum Message: Hashable, Sendable {
    case hello(Roost_V1_Hello)
    case welcome(Roost_V1_Welcome)
    case goodbye(Roost_V1_Goodbye)
    case heartbeat(Roost_V1_Heartbeat)
    case heartbeatAcknowledgement(Roost_V1_HeartbeatAcknowledgement)
    case enrolmentRequest(Roost_V1_EnrolmentRequest)
    case enrolmentAnswer(Roost_V1_EnrolmentAnswer)
    case inventory(Roost_V1_Inventory)
    case assignmentSet(Roost_V1_AssignmentSet)
    case assignmentAcknowledgement(Roost_V1_AssignmentAcknowledgement)
    case statusReport(Roost_V1_StatusReport)
    case usageBatch(Roost_V1_UsageBatch)
    case usageAcknowledgement(Roost_V1_UsageAcknowledgement)
    case streamOpen(stream: UInt16, Roost_V1_StreamOpen)
    case streamCredit(stream: UInt16, Roost_V1_StreamCredit)
    case streamClose(stream: UInt16, Roost_V1_StreamClose)
    case streamData(stream: UInt16, [UInt8])

    /// Reads a frame. Throws `malformedMessage` where the payload is not the message that the type promises, and
    /// `unexpectedMessage` for a type that belongs on chunk connections.
    public init(frame: Frame) throws(SessionRefusal) {
        switch frame.type {
        case .hello: self = .hello(try frame.decoded())
        case .welcome: self = .welcome(try frame.decoded())
        case .goodbye: self = .goodbye(try frame.decoded())
        case .heartbeat: self = .heartbeat(try frame.decoded())
        case .heartbeatAcknowledgement: self = .heartbeatAcknowledgement(try frame.decoded())
        case .enrolmentRequest: self = .enrolmentRequest(try frame.decoded())
        case .enrolmentAnswer: self = .enrolmentAnswer(try frame.decoded())
        case .inventory: self = .inventory(try frame.decoded())
        case .assignmentSet: self = .assignmentSet(try frame.decoded())
        case .assignmentAcknowledgement: self = .assignmentAcknowledgement(try frame.decoded())
        case .statusReport: self = .statusReport(try frame.decoded())
        case .usageBatch: self = .usageBatch(try frame.decoded())
        case .usageAcknowledgement: self = .usageAcknowledgement(try frame.decoded())
        case .streamOpen: self = .streamOpen(stream: frame.stream, try frame.decoded())
        case .streamCredit: self = .streamCredit(stream: frame.stream, try frame.decoded())
        case .streamClose: self = .streamClose(stream: frame.stream, try frame.decoded())
        case .streamData: self = .streamData(stream: frame.stream, frame.payload)
        default: throw .unexpectedMessage
        }
    }

    /// The message in its frame. Throws `frameTooLarge` above `Limits.framePayloadBytes`, which is for the sender to
    /// split; and `internalError` where the message cannot be serialised, which no message of ours does.
    public func frame() throws(SessionRefusal) -> Frame {
        switch self {
        case .hello(let body): try Frame(type: .hello, encoding: body)
        case .welcome(let body): try Frame(type: .welcome, encoding: body)
        case .goodbye(let body): try Frame(type: .goodbye, encoding: body)
        case .heartbeat(let body): try Frame(type: .heartbeat, encoding: body)
        case .heartbeatAcknowledgement(let body): try Frame(type: .heartbeatAcknowledgement, encoding: body)
        case .enrolmentRequest(let body): try Frame(type: .enrolmentRequest, encoding: body)
        case .enrolmentAnswer(let body): try Frame(type: .enrolmentAnswer, encoding: body)
        case .inventory(let body): try Frame(type: .inventory, encoding: body)
        case .assignmentSet(let body): try Frame(type: .assignmentSet, encoding: body)
        case .assignmentAcknowledgement(let body): try Frame(type: .assignmentAcknowledgement, encoding: body)
        case .statusReport(let body): try Frame(type: .statusReport, encoding: body)
        case .usageBatch(let body): try Frame(type: .usageBatch, encoding: body)
        case .usageAcknowledgement(let body): try Frame(type: .usageAcknowledgement, encoding: body)
        case .streamOpen(let stream, let body): try Frame(type: .streamOpen, encoding: body, stream: stream)
        case .streamCredit(let stream, let body): try Frame(type: .streamCredit, encoding: body, stream: stream)
        case .streamClose(let stream, let body): try Frame(type: .streamClose, encoding: body, stream: stream)
        case .streamData(let stream, let bytes): try Frame(type: .streamData, bounded: bytes, stream: stream)
        }
    }

    /// The frame's bytes, ready for a socket; throws as `frame()` does.
    public func encoded() throws(SessionRefusal) -> [UInt8] { FrameEncoder.encode(try frame()) }
}

extension Message {
    /// The last message of a side that ends the session.
    public static func goodbye(_ refusal: SessionRefusal, leader: String? = nil) -> Message {
        .goodbye(
            .with {
                $0.code = refusal.rawValue
                $0.sentence = refusal.sentence
                $0.leaderAddress = leader ?? ""
            })
    }
}

extension Frame {
    /// A frame around a serialised message; throws as `Message.frame()` does.
    public init(
        type: FrameType, encoding message: some SwiftProtobuf.Message, stream: UInt16 = 0
    ) throws(SessionRefusal) {
        let payload: [UInt8]
        do {
            payload = try message.serializedBytes()
        } catch {
            throw .internalError
        }
        try self.init(type: type, bounded: payload, stream: stream)
    }

    fileprivate init(type: FrameType, bounded payload: [UInt8], stream: UInt16) throws(SessionRefusal) {
        guard payload.count <= Limits.framePayloadBytes else { throw .frameTooLarge }
        self.init(type: type, stream: stream, payload: payload)
    }

    /// The payload as a message; throws `malformedMessage`. Fields that this version does not know are dropped.
    public func decoded<Body: SwiftProtobuf.Message>(as type: Body.Type = Body.self) throws(SessionRefusal) -> Body {
        var options = BinaryDecodingOptions()
        options.discardUnknownFields = true
        do {
            return try Body(serializedBytes: payload, options: options)
        } catch {
            throw .malformedMessage
        }
    }
}
