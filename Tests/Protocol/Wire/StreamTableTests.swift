import Foundation
import ProtocolMessages
import ProtocolModel
import ProtocolWire
import SwiftProtobuf
import Testing

@Suite("multiplexed streams")
struct StreamTableTests {
    typealias Message = ProtocolWire.Message
    static let instance = InstanceID(UUID(uuid: (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)))

    /// Two ends of one session, with a stream open between them.
    struct Pair {
        var manager = StreamTable(side: .manager)
        var agent = StreamTable(side: .agent)
        let stream: UInt16

        init(credit: UInt32 = 10) throws {
            let (stream, message) = try manager.open(kind: "console", instance: instance, credit: credit)
            self.stream = stream
            _ = try agent.received(message)
        }
    }

    @Test("data flows as far as the credit goes")
    func credit() throws {
        var pair = try Pair(credit: 3)
        let data = try pair.agent.send([1, 2, 3], on: pair.stream)
        #expect(try pair.manager.received(data) == .data(stream: pair.stream, [1, 2, 3]))
        #expect(throws: SessionRefusal.streamLimit) { try pair.agent.send([4], on: pair.stream) }
        let granted = pair.manager.grant(5, on: pair.stream)
        let grant = try #require(granted)
        #expect(try pair.agent.received(grant) == .credit(stream: pair.stream, available: 5))
        #expect(pair.agent.sendCredit(pair.stream) == 5)
    }

    @Test("data beyond the credit, or for no stream, is the peer's fault")
    func overrun() throws {
        var pair = try Pair(credit: 2)
        #expect(throws: SessionRefusal.streamLimit) {
            try pair.manager.received(.streamData(stream: pair.stream, [1, 2, 3]))
        }
        #expect(throws: SessionRefusal.streamLimit) { try pair.manager.received(.streamData(stream: 99, [])) }
    }

    @Test("a close is answered, what was on its way is dropped, and the number is free again")
    func close() throws {
        var pair = try Pair()
        let late = try pair.agent.send([1], on: pair.stream)
        let closing = pair.manager.close(pair.stream, code: "done", sentence: "")
        let close = try #require(closing)
        let again = pair.manager.close(pair.stream, code: "done", sentence: "")
        #expect(again == nil)
        #expect(try pair.manager.received(late) == StreamTable.Event.none)
        guard case .closed(_, _, .some(let answer)) = try pair.agent.received(close) else {
            Issue.record("the agent's end did not answer")
            return
        }
        guard case .closed(_, _, nil) = try pair.manager.received(answer) else {
            Issue.record("the manager's end answered an answer")
            return
        }
        #expect(pair.manager.count == 0 && pair.agent.count == 0)
    }

    @Test("only the manager opens streams, and not without end")
    func limits() throws {
        var agent = StreamTable(side: .agent)
        #expect(throws: SessionRefusal.unexpectedMessage) {
            try agent.open(kind: "console", instance: Self.instance, credit: 1)
        }
        var manager = StreamTable(side: .manager)
        #expect(throws: SessionRefusal.unexpectedMessage) { try manager.received(.streamOpen(stream: 1, .init())) }
        for _ in 0..<Limits.streamsPerSession {
            let (_, message) = try manager.open(kind: "console", instance: Self.instance, credit: 1)
            _ = try agent.received(message)
        }
        #expect(throws: SessionRefusal.streamLimit) {
            try manager.open(kind: "console", instance: Self.instance, credit: 1)
        }
        #expect(throws: SessionRefusal.streamLimit) { try agent.received(.streamOpen(stream: 9999, .init())) }
    }

    @Test("credit has a ceiling on both sides")
    func ceiling() throws {
        var pair = try Pair(credit: .max)
        let granted = pair.manager.grant(1, on: pair.stream)
        #expect(granted == nil)
        #expect(throws: SessionRefusal.streamLimit) {
            try pair.agent.received(.streamCredit(stream: pair.stream, .with { $0.bytes = .max }))
        }
    }
}
