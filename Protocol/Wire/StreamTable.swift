public import ProtocolMessages
public import ProtocolModel
import SwiftProtobuf

/// The multiplexed streams of one session (consoles, files), with credit in bytes for each direction.
///
///     free --open--> open --close sent--> closing --close received--> free
///                     \------------------ close received ----------> free   (answered with a close of our own)
///
/// The manager opens streams; either side closes them. A receiver grants credit, and a sender sends no more than it was
/// granted, so that one slow console holds up neither the session nor memory (P10). After our close, data that was
/// on its way is dropped; the number is free once the peer's close has come.
public struct StreamTable: Sendable {
    /// Which end this is: the manager's opens streams.
    public enum Side: Sendable { case manager, agent }

    /// What an arriving stream frame means to the owner of the stream.
    public enum Event: Hashable, Sendable {
        case none
        case opened(stream: UInt16, Roost_V1_StreamOpen)
        case data(stream: UInt16, [UInt8])
        /// `available` bytes may now be sent.
        case credit(stream: UInt16, available: UInt32)
        /// The peer closed the stream; `answer` must be sent, which is `nil` where ours is on its way already.
        case closed(stream: UInt16, Roost_V1_StreamClose, answer: Message?)
    }

    /// Unused credit that a sender may accumulate; more is a fault of the peer.
    public static let creditLimit: UInt32 = 16 * 1024 * 1024

    private struct Stream {
        var sendCredit: UInt32
        var receiveCredit: UInt32
        var closeSent = false
    }

    private let side: Side
    private var streams: [UInt16: Stream] = [:]
    private var nextNumber: UInt16 = 1

    public init(side: Side) { self.side = side }

    /// Streams that are open or closing.
    public var count: Int { streams.count }

    /// The bytes that may be sent on a stream just now; 0 for one that is not open.
    public func sendCredit(_ stream: UInt16) -> UInt32 {
        guard let entry = streams[stream], !entry.closeSent else { return 0 }
        return entry.sendCredit
    }

    // MARK: What this side does

    /// Opens a stream and grants the peer its first credit. Throws `streamLimit` where all are in use and
    /// `unexpectedMessage` on the agent's side.
    public mutating func open(
        kind: String, instance: InstanceID, credit: UInt32
    ) throws(SessionRefusal) -> (stream: UInt16, message: Message) {
        guard side == .manager else { throw .unexpectedMessage }
        guard streams.count < Limits.streamsPerSession else { throw .streamLimit }
        while streams[nextNumber] != nil || nextNumber == 0 { nextNumber &+= 1 }
        let number = nextNumber
        nextNumber &+= 1
        let granted = min(credit, Self.creditLimit)
        streams[number] = Stream(sendCredit: 0, receiveCredit: granted)
        let open = Roost_V1_StreamOpen.with {
            $0.kind = kind
            $0.instanceID = instance.bytes
            $0.initialCredit = granted
        }
        return (number, .streamOpen(stream: number, open))
    }

    /// Takes credit for data and gives the frame's message. Throws `streamLimit` where the credit does not suffice.
    public mutating func send(_ bytes: [UInt8], on stream: UInt16) throws(SessionRefusal) -> Message {
        guard sendCredit(stream) >= bytes.count, streams[stream] != nil else { throw .streamLimit }
        streams[stream]?.sendCredit -= UInt32(bytes.count)
        return .streamData(stream: stream, bytes)
    }

    /// Lets the peer send `bytes` more; `nil` where the stream is not open or has more than it can use.
    public mutating func grant(_ bytes: UInt32, on stream: UInt16) -> Message? {
        guard var entry = streams[stream], !entry.closeSent else { return nil }
        let granted = min(bytes, Self.creditLimit - min(entry.receiveCredit, Self.creditLimit))
        guard granted > 0 else { return nil }
        entry.receiveCredit += granted
        streams[stream] = entry
        return .streamCredit(stream: stream, .with { $0.bytes = granted })
    }

    /// Closes a stream; `nil` where it is not open.
    public mutating func close(_ stream: UInt16, code: String, sentence: String) -> Message? {
        guard streams[stream]?.closeSent == false else { return nil }
        streams[stream]?.closeSent = true
        return Self.closing(stream, code: code, sentence: sentence)
    }

    // MARK: What the peer does

    /// Takes a stream message of the peer. Throws `streamLimit` for a stream that is not open or data beyond its credit,
    /// and `unexpectedMessage` for a message that this side never gets.
    public mutating func received(_ message: Message) throws(SessionRefusal) -> Event {
        switch message {
        case .streamOpen(let stream, let open): try opened(stream, open)
        case .streamData(let stream, let bytes): try data(stream, bytes)
        case .streamCredit(let stream, let credit): try credited(stream, credit.bytes)
        case .streamClose(let stream, let close): try closed(stream, close)
        default: throw .unexpectedMessage
        }
    }

    private mutating func opened(_ stream: UInt16, _ open: Roost_V1_StreamOpen) throws(SessionRefusal) -> Event {
        guard side == .agent else { throw .unexpectedMessage }
        guard stream != 0, streams[stream] == nil, streams.count < Limits.streamsPerSession,
            open.initialCredit <= Self.creditLimit
        else { throw .streamLimit }
        streams[stream] = Stream(sendCredit: open.initialCredit, receiveCredit: 0)
        return .opened(stream: stream, open)
    }

    private mutating func data(_ stream: UInt16, _ bytes: [UInt8]) throws(SessionRefusal) -> Event {
        guard let entry = streams[stream], entry.receiveCredit >= bytes.count else { throw .streamLimit }
        streams[stream]?.receiveCredit -= UInt32(bytes.count)
        return entry.closeSent ? .none : .data(stream: stream, bytes)
    }

    private mutating func credited(_ stream: UInt16, _ bytes: UInt32) throws(SessionRefusal) -> Event {
        guard let entry = streams[stream] else { throw .streamLimit }
        let (sum, overflow) = entry.sendCredit.addingReportingOverflow(bytes)
        guard !overflow, sum <= Self.creditLimit else { throw .streamLimit }
        streams[stream]?.sendCredit = sum
        return entry.closeSent ? .none : .credit(stream: stream, available: sum)
    }

    private mutating func closed(_ stream: UInt16, _ close: Roost_V1_StreamClose) throws(SessionRefusal) -> Event {
        guard let entry = streams.removeValue(forKey: stream) else { throw .streamLimit }
        let answer = entry.closeSent ? nil : Self.closing(stream, code: close.code, sentence: "")
        return .closed(stream: stream, close, answer: answer)
    }

    private static func closing(_ stream: UInt16, code: String, sentence: String) -> Message {
        .streamClose(
            stream: stream,
            .with {
                $0.code = code
                $0.sentence = sentence
            })
    }
}
