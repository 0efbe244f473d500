import Foundation
import ProtocolMessages
import ProtocolModel
import ProtocolWire
import SwiftProtobuf
import Testing

@Suite("messages")
struct MessageTests {
    typealias Message = ProtocolWire.Message

    /// One of each kind, with the frame that it has to give for ever: these bytes are what other versions read.
    static let golden: [(Message, String)] = [
        (
            .hello(
                .with {
                    $0.nodeID = Data(repeating: 0x11, count: 16)
                    $0.protocolMinimum = 1
                    $0.protocolMaximum = 1
                    $0.softwareVersion = "0.1"
                }), "0000001b010000000a10" + String(repeating: "11", count: 16) + "100118012203302e31"
        ),
        (
            .welcome(
                .with {
                    $0.protocol = 1
                    $0.sessionEpoch = 9
                    $0.heartbeatIntervalMs = 5000
                }), "00000007020000000801100920 8827".replacingOccurrences(of: " ", with: "")
        ),
        (.goodbye(.with { $0.code = "busy" }), "00000006030000000a0462757379"),
        (.heartbeat(.with { $0.sequence = 300 }), "000000030400000008ac02"),
        (.heartbeatAcknowledgement(.with { $0.sequence = 1 }), "00000002050000000801"),
        (.enrolmentRequest(.with { $0.joinToken = "t" }), "00000003100000000a0174"),
        (.enrolmentAnswer(.with { $0.nodeID = Data([1]) }), "00000003110000000a0101"),
        (.inventory(.with { $0.hostName = "h" }), "00000003200000000a0168"),
        (
            .assignmentSet(
                .with {
                    $0.revision = 2; $0.full = true
                }), "000000043000000008021001"
        ),
        (.assignmentAcknowledgement(.with { $0.revision = 2 }), "00000002310000000802"),
        (.statusReport(.with { $0.full = true }), "00000002400000000801"),
        (
            .statusReport(
                .with {
                    $0.hostHold.left = true
                    $0.hostHold.reason = "r"
                    $0.hostHold.sinceMs = 1
                }), "00000009400000002a0708011201721801"
        ),
        (.hello(.with { $0.hostHold = .init() }), "00000002010000005200"),
        (.usageBatch(.with { $0.number = 5 }), "00000002500000001005"),
        (.usageAcknowledgement(.with { $0.number = 5 }), "00000002510000001005"),
        (.streamOpen(stream: 1, .with { $0.kind = "console" }), "00000009600000010a07636f6e736f6c65"),
        (.streamCredit(stream: 1, .with { $0.bytes = 64 }), "00000002610000010840"),
        (.streamClose(stream: 1, .with { $0.code = "eof" }), "00000005620000010a03656f66"),
        (.streamData(stream: 0xABCD, [1, 2, 3]), "000000036300abcd010203"),
    ]

    @Test("each message is the frame that it always was", arguments: golden.indices)
    func goldenFrames(_ index: Int) throws {
        let (message, hex) = Self.golden[index]
        let bytes = try message.encoded()
        #expect(bytes.hexadecimal == hex)
        var decoder = FrameDecoder()
        decoder.append(bytes)
        let frame = try #require(try decoder.next())
        #expect(try Message(frame: frame) == message)
    }

    @Test("every control type has a golden frame")
    func complete() throws {
        let covered = Set(try Self.golden.map { try $0.0.frame().type })
        #expect(covered == Set(FrameType.all.filter { $0.rawValue < 0x70 }))
    }

    @Test("a chunk frame is no message of a session")
    func chunkFrame() {
        #expect(throws: SessionRefusal.unexpectedMessage) { try Message(frame: Frame(type: .chunkRequest)) }
    }

    @Test("a payload that is no message is refused")
    func malformed() {
        #expect(throws: SessionRefusal.malformedMessage) {
            try Message(frame: Frame(type: .hello, payload: [0x0A, 0xFF, 0x01]))
        }
    }

    @Test("fields of a later version are ignored")
    func unknownFields() throws {
        let message = try Message(frame: Frame(type: .heartbeat, payload: [0x08, 0x05, 0xF8, 0x07, 0x01]))
        #expect(message == .heartbeat(.with { $0.sequence = 5 }))
    }

    @Test("a message above the limit is for its sender to split")
    func tooLarge() {
        let message = Message.streamData(stream: 1, [UInt8](repeating: 0, count: Limits.framePayloadBytes + 1))
        #expect(throws: SessionRefusal.frameTooLarge) { try message.encoded() }
    }

    @Test("the words of a goodbye are kept to one short line")
    func goodbyeWords() {
        let end = SessionEnd(
            .with {
                $0.code = "from_the_future"; $0.sentence = "a\nb" + String(repeating: "x", count: 999)
            })
        guard case .theirs(nil, let sentence) = end else {
            Issue.record("\(end)")
            return
        }
        #expect(sentence.hasPrefix("a bx") && sentence.count == 300)
    }

    @Test("every refusal has a code of its own and a sentence")
    func refusals() {
        #expect(Set(SessionRefusal.allCases.map(\.sentence)).count == SessionRefusal.allCases.count)
        for refusal in SessionRefusal.allCases { #expect(Message.goodbye(refusal).refusal == refusal) }
    }
}

extension ProtocolWire.Message {
    var refusal: SessionRefusal? {
        if case .goodbye(let goodbye) = self { SessionEnd(goodbye).refusal } else { nil }
    }
}
