import Foundation
import ProtocolMessages
import ProtocolModel
import ProtocolWire
import SwiftProtobuf
import Testing
import TestsSupportRandomness

@Suite("the agent's end of a session")
struct AgentSessionTests {
    typealias Message = ProtocolWire.Message
    static let welcome = Roost_V1_Welcome.with {
        $0.protocol = 1
        $0.sessionEpoch = 3
        $0.heartbeatIntervalMs = 2000
    }

    static func at(_ seconds: Double) -> Uptime { Uptime(sinceStart: .seconds(seconds)) }

    static func refused(_ refusal: SessionRefusal) -> [AgentSession.Action] {
        [.send(.goodbye(refusal)), .close(.ours(refusal))]
    }

    func greeting() -> AgentSession {
        var session = AgentSession()
        _ = session.start(.init(), at: Self.at(0))
        return session
    }

    func established() -> AgentSession {
        var session = greeting()
        _ = session.received(.welcome(Self.welcome), at: Self.at(0))
        return session
    }

    @Test("says hello once and takes the manager's welcome")
    func opens() {
        var session = AgentSession()
        #expect(session.start(.init(), at: Self.at(0)) == [.send(.hello(.init()))])
        #expect(session.start(.init(), at: Self.at(0)).isEmpty)
        #expect(session.admits(.inventory(.init())) == false)
        #expect(session.received(.welcome(Self.welcome), at: Self.at(0)) == [.established(Self.welcome)])
        #expect(session.admits(.inventory(.init())) == true)
        #expect(session.admits(.assignmentSet(.init())) == false)
    }

    @Test(
        "a welcome that cannot be kept to is refused",
        arguments: [
            (
                Roost_V1_Welcome.with {
                    $0.protocol = 9; $0.heartbeatIntervalMs = 5000
                }, SessionRefusal.unsupportedProtocol
            ),
            (Roost_V1_Welcome.with { $0.protocol = 1 }, .malformedMessage),
            (
                Roost_V1_Welcome.with {
                    $0.protocol = 1; $0.heartbeatIntervalMs = .max
                }, .malformedMessage
            ),
        ])
    func badWelcome(_ welcome: Roost_V1_Welcome, _ refusal: SessionRefusal) {
        var session = greeting()
        #expect(session.received(.welcome(welcome), at: Self.at(0)) == Self.refused(refusal))
    }

    @Test("heartbeats come at the manager's interval, numbered")
    func heartbeats() {
        var session = established()
        #expect(session.tick(at: Self.at(0)) == [.heartbeatDue(sequence: 1)])
        #expect(session.tick(at: Self.at(1.9)).isEmpty)
        #expect(session.tick(at: Self.at(2)) == [.heartbeatDue(sequence: 2)])
    }

    @Test("a manager that says nothing for six intervals is given up")
    func silence() {
        var session = established()
        _ = session.received(.heartbeatAcknowledgement(.init()), at: Self.at(5))
        _ = session.tick(at: Self.at(16.9))
        #expect(session.tick(at: Self.at(17)) == Self.refused(.heartbeatLost))
    }

    @Test("silence while this side was busy is not the manager's")
    func busy() {
        var session = established()
        session.resumed(at: Self.at(100))
        #expect(session.tick(at: Self.at(101)) == [.heartbeatDue(sequence: 1)])
    }

    @Test("a goodbye ends the session with the manager's words")
    func goodbye() {
        var session = greeting()
        let end = SessionEnd.theirs(.certificateRevoked, sentence: SessionRefusal.certificateRevoked.sentence)
        #expect(session.received(.goodbye(.certificateRevoked), at: Self.at(0)) == [.close(end)])
        #expect(session.received(.welcome(Self.welcome), at: Self.at(0)).isEmpty)
    }

    @Test("no welcome in time")
    func handshakeTimeout() {
        var session = greeting()
        #expect(session.tick(at: Self.at(10)) == Self.refused(.handshakeTimeout))
    }

    @Test("a certificate comes only when it was asked for")
    func renewal() {
        var session = established()
        #expect(session.received(.enrolmentAnswer(.init()), at: Self.at(0)) == Self.refused(.unexpectedMessage))
        var other = established()
        #expect(other.admits(.enrolmentRequest(.init())) == true)
        #expect(
            other.received(.enrolmentAnswer(.init()), at: Self.at(0)) == [.deliver(.enrolmentAnswer(.init()))])
    }

    @Test("no order of events traps, and a closed session stays closed", arguments: 0..<300 as Range<UInt64>)
    func anyOrder(seed: UInt64) {
        var random = SeededNumbers(state: seed)
        var session = AgentSession()
        var now = 0.0
        var closes = 0
        for _ in 0..<60 {
            now += Double.random(in: 0...3, using: &random)
            let actions: [AgentSession.Action]
            switch Int.random(in: 0..<7, using: &random) {
            case 0: actions = session.start(.init(), at: Self.at(now))
            case 1: actions = session.tick(at: Self.at(now))
            case 2: actions = session.received(.welcome(Self.welcome), at: Self.at(now))
            case 3:
                let type = FrameType.all.randomElement(using: &random) ?? .hello
                actions = session.received(
                    Frame(type: type, stream: type.isStream ? 1 : 0, payload: random.bytes(3)), at: Self.at(now))
            default:
                let message = MessageTests.golden.randomElement(using: &random)?.0 ?? .goodbye(.busy)
                _ = session.admits(message)
                actions = session.received(message, at: Self.at(now))
            }
            if closes > 0 { #expect(actions.isEmpty) }
            closes += actions.count { if case .close = $0 { true } else { false } }
        }
        #expect(closes <= 1)
    }
}
