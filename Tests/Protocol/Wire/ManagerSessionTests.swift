import Foundation
import ProtocolMessages
import ProtocolModel
import ProtocolWire
import SwiftProtobuf
import Testing
import TestsSupportRandomness

@Suite("the manager's end of a session")
struct ManagerSessionTests {
    typealias Message = ProtocolWire.Message
    static let node = NodeID(UUID(uuid: (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)))
    static let site = SiteID(UUID(uuid: (9, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)))
    static let peer = VerifiedPeer(
        identity: .node(node), site: site, serial: "0a", notAfter: Timestamp(milliseconds: 1_000_000))
    static let zero = Uptime(sinceStart: .zero)
    static let wall = Timestamp(milliseconds: 77)

    static func at(_ seconds: Double) -> Uptime { Uptime(sinceStart: .seconds(seconds)) }

    static func hello(_ change: (inout Roost_V1_Hello) -> Void = { _ in }) -> Roost_V1_Hello {
        var hello = Roost_V1_Hello.with {
            $0.nodeID = node.bytes
            $0.siteID = site.bytes
            $0.bootID = Data(repeating: 1, count: 16)
            $0.processID = Data(repeating: 2, count: 16)
            $0.protocolMinimum = 1
            $0.protocolMaximum = 1
        }
        change(&hello)
        return hello
    }

    static func refused(_ refusal: SessionRefusal) -> [ManagerSession.Action] {
        [.send(.goodbye(refusal)), .close(.ours(refusal))]
    }

    func fresh(_ credential: PeerCredential = .verified(peer)) -> ManagerSession {
        ManagerSession(credential: credential, at: Self.zero)
    }

    func established() -> ManagerSession {
        var session = fresh()
        _ = session.received(.hello(Self.hello()), at: Self.zero, managerTime: Self.wall)
        _ = session.welcome(.with { $0.sessionEpoch = 4 }, at: Self.zero)
        return session
    }

    @Test("a rejected credential is answered with its code, and nothing is read")
    func rejected() {
        var session = fresh(.rejected(.certificateExpired))
        #expect(session.start() == Self.refused(.certificateExpired))
        #expect(session.received(.hello(Self.hello()), at: Self.zero, managerTime: Self.wall).isEmpty)
        #expect(session.start().isEmpty)
    }

    @Test("hello, welcome, work")
    func opens() {
        var session = fresh()
        #expect(session.start().isEmpty)
        let hello = Self.hello()
        #expect(
            session.received(.hello(hello), at: Self.zero, managerTime: Self.wall) == [.open(hello, Self.peer)])
        let sent = session.welcome(.with { $0.sessionEpoch = 4 }, at: Self.zero)
        #expect(
            sent == [
                .send(
                    .welcome(
                        .with {
                            $0.sessionEpoch = 4; $0.protocol = 1; $0.heartbeatIntervalMs = 5000
                        }))
            ])
        let inventory = Message.inventory(.with { $0.hostName = "cn1" })
        #expect(session.received(inventory, at: Self.zero, managerTime: Self.wall) == [.deliver(inventory)])
    }

    @Test(
        "a hello that does not fit is refused with its own code",
        arguments: [
            (
                hello {
                    $0.protocolMinimum = 2; $0.protocolMaximum = 3
                }, SessionRefusal.unsupportedProtocol
            ),
            (
                hello {
                    $0.protocolMinimum = 0; $0.protocolMaximum = 0
                }, .unsupportedProtocol
            ),
            (
                hello {
                    $0.protocolMinimum = 2; $0.protocolMaximum = 1
                }, .unsupportedProtocol
            ),
            (
                hello {
                    $0.protocolMinimum = 2; $0.protocolMaximum = 2; $0.nodeID = Data()
                }, .unsupportedProtocol
            ),
            (hello { $0.nodeID = Data(repeating: 7, count: 16) }, .identityMismatch),
            (hello { $0.siteID = Data(repeating: 7, count: 16) }, .identityMismatch),
            (hello { $0.nodeID = Data(repeating: 7, count: 15) }, .malformedMessage),
            (hello { $0.bootID = Data() }, .malformedMessage),
        ])
    func badHello(_ hello: Roost_V1_Hello, _ refusal: SessionRefusal) {
        var session = fresh()
        #expect(session.received(.hello(hello), at: Self.zero, managerTime: Self.wall) == Self.refused(refusal))
    }

    @Test("without a certificate only an enrolment is heard, and the connection ends with its answer")
    func enrols() {
        var session = fresh(.none)
        let request = Roost_V1_EnrolmentRequest.with { $0.joinToken = "secret" }
        #expect(
            session.received(.enrolmentRequest(request), at: Self.zero, managerTime: Self.wall)
                == [.enrol(request, nil)])
        #expect(session.enrolled(.with { $0.nodeID = Data([1]) }).last == .close(.finished))

        var other = fresh(.none)
        #expect(
            other.received(.hello(Self.hello()), at: Self.zero, managerTime: Self.wall) == Self.refused(.noCertificate))
    }

    @Test("a certificate is renewed once at a time on a standing session")
    func renews() {
        var session = established()
        let request = Roost_V1_EnrolmentRequest.with { $0.nodeName = "x" }
        let message = Message.enrolmentRequest(request)
        #expect(session.received(message, at: Self.zero, managerTime: Self.wall) == [.enrol(request, Self.peer)])
        #expect(session.enrolled(.init()) == [.send(.enrolmentAnswer(.init()))])
        #expect(session.received(message, at: Self.zero, managerTime: Self.wall) == [.enrol(request, Self.peer)])
        #expect(session.received(message, at: Self.zero, managerTime: Self.wall) == Self.refused(.unexpectedMessage))
    }

    @Test("a heartbeat is answered with its number and the manager's time")
    func heartbeat() {
        var session = established()
        let beat = Message.heartbeat(.with { $0.sequence = 3 })
        let answer = Message.heartbeatAcknowledgement(
            .with {
                $0.sequence = 3; $0.managerTimeMs = 77
            })
        #expect(
            session.received(beat, at: Self.at(5), managerTime: Self.wall) == [.send(answer), .deliver(beat)])
        #expect(session.lastHeartbeat == 3)
    }

    @Test("suspect after three missed heartbeats, heard again, down after six")
    func liveness() {
        var session = established()
        #expect(session.tick(at: Self.at(14.9)).isEmpty)
        #expect(session.tick(at: Self.at(15)) == [.suspect])
        #expect(session.tick(at: Self.at(16)).isEmpty)
        #expect(
            session.received(.statusReport(.init()), at: Self.at(20), managerTime: Self.wall)
                == [.recovered, .deliver(.statusReport(.init()))])
        #expect(session.tick(at: Self.at(34.9)).isEmpty)
        #expect(session.tick(at: Self.at(35)) == [.suspect])
        #expect(session.tick(at: Self.at(50)) == Self.refused(.heartbeatLost))
        #expect(session.tick(at: Self.at(60)).isEmpty)
    }

    @Test("who says nothing is not waited for")
    func handshakeTimeout() {
        var session = fresh()
        #expect(session.tick(at: Self.at(9.9)).isEmpty)
        #expect(session.tick(at: Self.at(10)) == Self.refused(.handshakeTimeout))
    }

    @Test("what a state does not allow ends the session with a code")
    func unexpected() {
        for (message, _) in MessageTests.golden {
            var early = fresh()
            if case .hello = message { continue }
            let actions = early.received(message, at: Self.zero, managerTime: Self.wall)
            if case .goodbye = message {
                #expect(actions.count == 1)
            } else {
                #expect(actions == Self.refused(.unexpectedMessage), "\(message)")
            }
        }
        for message in [Message.welcome(.init()), .hello(Self.hello()), .assignmentSet(.init())] {
            var session = established()
            #expect(
                session.received(message, at: Self.zero, managerTime: Self.wall) == Self.refused(.unexpectedMessage))
        }
    }

    @Test("no order of events traps, and a closed session stays closed", arguments: 0..<300 as Range<UInt64>)
    func anyOrder(seed: UInt64) {
        var random = SeededNumbers(state: seed)
        let credentials: [PeerCredential] = [.none, .verified(Self.peer), .rejected(.unknownAuthority)]
        var session = fresh(credentials[Int.random(in: 0..<3, using: &random)])
        var now = 0.0
        var closes = 0
        for _ in 0..<60 {
            now += Double.random(in: 0...4, using: &random)
            let actions: [ManagerSession.Action]
            switch Int.random(in: 0..<9, using: &random) {
            case 0: actions = session.start()
            case 1: actions = session.tick(at: Self.at(now))
            case 2: actions = session.welcome(.init(), at: Self.at(now))
            case 3: actions = session.enrolled(.init())
            case 4: actions = session.received(.hello(Self.hello()), at: Self.at(now), managerTime: Self.wall)
            case 5 where Int.random(in: 0..<8, using: &random) == 0: actions = session.disconnected()
            case 6:
                let type = FrameType.all.randomElement(using: &random) ?? .hello
                let frame = Frame(
                    type: type, stream: type.isStream ? 1 : 0,
                    payload: random.bytes(Int.random(in: 0...6, using: &random)))
                actions = session.received(frame, at: Self.at(now), managerTime: Self.wall)
            default:
                let message = MessageTests.golden.randomElement(using: &random)?.0 ?? .goodbye(.busy)
                actions = session.received(message, at: Self.at(now), managerTime: Self.wall)
            }
            if closes > 0 { #expect(actions.isEmpty) }
            closes += actions.count { if case .close = $0 { true } else { false } }
        }
        #expect(closes <= 1)
    }
}
