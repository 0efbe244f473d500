import Foundation
import ProtocolMessages
import ProtocolModel
import SwiftProtobuf
import Testing

@testable import ProtocolWire

/// Managers and agents of this version beside those of the version before, which knew neither several managers nor the
/// messages' newer fields.
@Suite("One version of skew")
struct SkewTests {
    private let now = Uptime(sinceStart: .seconds(1))

    /// What the version before wrote and read: the fields that it knew.
    private func asBefore<Body: SwiftProtobuf.Message>(_ body: Body, keeping fields: ClosedRange<Int>) throws -> Body {
        let bytes: [UInt8] = try body.serializedBytes()
        var (kept, rest): ([UInt8], ArraySlice<UInt8>) = ([], bytes[...])
        func number(_ rest: inout ArraySlice<UInt8>) -> Int {
            var (value, shift) = (0, 0)
            while let byte = rest.popFirst() {
                value |= Int(byte & 0x7F) << shift
                shift += 7
                if byte & 0x80 == 0 { break }
            }
            return value
        }
        while !rest.isEmpty {
            let start = rest
            let tag = number(&rest)
            switch tag & 7 {
            case 0: _ = number(&rest)
            case 1: rest = rest.dropFirst(8)
            case 2:
                let length = number(&rest)
                rest = rest.dropFirst(length)
            default: rest = rest.dropFirst(4)
            }
            if fields.contains(tag >> 3) { kept += start[..<rest.startIndex] }
        }
        return try Body(serializedBytes: kept)
    }

    private func greeting() -> AgentSession {
        var session = AgentSession()
        _ = session.start(.init(), at: now)
        return session
    }

    @Test("an agent takes the welcome and the goodbye of a manager of the version before")
    func olderManager() throws {
        let full = Roost_V1_Welcome.with {
            $0.protocol = 1
            $0.sessionEpoch = 9
            $0.heartbeatIntervalMs = 5000
            $0.features = [ProtocolFeature.managers]
            $0.managerAddresses = ["a:7401"]
        }
        let older = try asBefore(full, keeping: 1...7)
        #expect(older.managerAddresses.isEmpty && older.sessionEpoch == 9)
        var session = greeting()
        #expect(session.received(.welcome(older), at: now) == [.established(older)])
        _ = session.received(.goodbye(.with { $0.code = "shutting_down" }), at: now)
        #expect(session.leader == nil && session.state == .closed(.theirs(.shuttingDown, sentence: "")))
    }

    @Test("an agent of the version before reads a welcome and a redirection as it knows them")
    func olderAgent() throws {
        // To it `not_leader` is a code like any other that it does not know: a loss, after which it dials again.
        guard case .goodbye(let goodbye) = Message.goodbye(.notLeader, leader: "a:7401") else { return }
        let read = try asBefore(goodbye, keeping: 1...2)
        #expect(read.code == "not_leader" && read.leaderAddress.isEmpty)
        #expect(read.sentence == SessionRefusal.notLeader.sentence)
        // It lists no feature, and is welcomed all the same.
        let hello = Roost_V1_Hello.with {
            $0.nodeID = Data(repeating: 1, count: 16)
            $0.siteID = Data(repeating: 2, count: 16)
            $0.bootID = Data(repeating: 3, count: 16)
            $0.processID = Data(repeating: 4, count: 16)
            $0.protocolMinimum = 1
            $0.protocolMaximum = 1
        }
        let peer = VerifiedPeer(
            identity: .node(try #require(NodeID(bytes: hello.nodeID))), site: try #require(SiteID(bytes: hello.siteID)),
            serial: "1", notAfter: Timestamp(milliseconds: 0))
        var session = ManagerSession(credential: .verified(peer), at: now)
        #expect(
            session.received(.hello(hello), at: now, managerTime: Timestamp(milliseconds: 0)) == [.open(hello, peer)])
        let actions = session.refuse(.notLeader, leader: "a:7401")
        #expect(actions == [.send(.goodbye(goodbye)), .close(.ours(.notLeader))])
    }

    @Test("an agent learns where the leader is, and believes nobody else's words about it")
    func redirection() {
        var session = greeting()
        _ = session.received(.goodbye(.notLeader, leader: "a:7401"), at: now)
        #expect(
            session.leader == "a:7401"
                && session.state == .closed(.theirs(.notLeader, sentence: SessionRefusal.notLeader.sentence)))
        var busy = greeting()
        _ = busy.received(.goodbye(.busy, leader: "a:7401"), at: now)
        #expect(busy.leader == nil)
    }
}
