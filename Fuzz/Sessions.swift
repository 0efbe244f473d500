import Foundation
import ProtocolMessages
import ProtocolModel
import ProtocolWire

/// Reads decisions from the fuzzer's bytes; zeros once they are used up.
private struct Script {
    private var rest: Slice<UnsafeRawBufferPointer>

    init(_ bytes: UnsafeRawBufferPointer) { rest = bytes[...] }

    var isOver: Bool { rest.isEmpty }
    mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }

    mutating func bytes(_ count: Int) -> [UInt8] {
        let taken = Array(rest.prefix(count))
        rest = rest.dropFirst(count)
        return taken
    }

    /// A frame with a type that exists, and whatever payload follows.
    mutating func frame() -> Frame {
        let type = FrameType.all[Int(byte()) % FrameType.all.count]
        let stream = type.isStream ? UInt16(byte() % 4) + 1 : 0
        return Frame(type: type, stream: stream, payload: bytes(Int(byte())))
    }
}

private let node = NodeID(UUID(uuid: (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)))
private let site = SiteID(UUID(uuid: (9, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)))

/// Both ends of a session, told whatever the bytes say in whatever order: nothing traps, nothing happens after the end, no
/// work reaches an agent or a manager before the session stands.
@Sendable
func fuzzSessions(_ input: UnsafeRawBufferPointer) {
    var script = Script(input)
    if script.byte() & 1 == 0 { manager(&script) } else { agent(&script) }
}

private func manager(_ script: inout Script) {
    let peer = VerifiedPeer(
        identity: script.byte() & 7 == 0 ? .manager : .node(node), site: site, serial: "0a",
        notAfter: Timestamp(milliseconds: 0))
    let credentials: [PeerCredential] = [.verified(peer), .none, .verified(peer), .rejected(.unknownAuthority)]
    var now = Uptime(sinceStart: .zero)
    var session = ManagerSession(credential: credentials[Int(script.byte()) % credentials.count], at: now)
    var isOver = false
    var isWelcomed = false
    while !script.isOver {
        now = now + .milliseconds(Int64(script.byte()) * 50)
        let actions: [ManagerSession.Action]
        switch script.byte() % 10 {
        case 0: actions = session.start()
        case 1: actions = session.tick(at: now)
        case 2:
            actions = session.welcome(.init(), at: now)
            isWelcomed = isWelcomed || !actions.isEmpty
        case 3: actions = session.enrolled(.init())
        case 4: actions = session.received(.hello(hello(&script)), at: now, managerTime: Timestamp(milliseconds: 0))
        case 5: actions = session.refuse(.busy)
        case 6:
            openStream(&session, script.byte())
            actions = []
        case 7 where script.byte() == 0: actions = session.disconnected()
        default: actions = session.received(script.frame(), at: now, managerTime: Timestamp(milliseconds: 0))
        }
        precondition(!isOver || actions.isEmpty, "something happened after the end")
        for action in actions {
            switch action {
            case .deliver, .stream, .suspect, .recovered: precondition(isWelcomed, "work before the welcome")
            case .close: isOver = true
            case .send, .open, .enrol: continue
            }
        }
        precondition(session.streams.count <= Limits.streamsPerSession, "too many streams")
    }
}

private func openStream(_ session: inout ManagerSession, _ credit: UInt8) {
    session.withStreams { streams in
        let instance = InstanceID(node.uuid)
        guard let (stream, _) = try? streams.open(kind: "console", instance: instance, credit: UInt32(credit))
        else { return }
        _ = streams.grant(UInt32(credit) << 20, on: stream)
        if credit & 1 == 0 { _ = streams.close(stream, code: "done", sentence: "") }
    }
}

private func agent(_ script: inout Script) {
    var now = Uptime(sinceStart: .zero)
    var session = AgentSession()
    var isOver = false
    var isWelcomed = false
    while !script.isOver {
        now = now + .milliseconds(Int64(script.byte()) * 50)
        let actions: [AgentSession.Action]
        switch script.byte() % 8 {
        case 0: actions = session.start(.init(), at: now)
        case 1: actions = session.tick(at: now)
        case 2:
            var welcome = Roost_V1_Welcome()
            welcome.protocol = UInt32(script.byte() % 3)
            welcome.heartbeatIntervalMs = UInt32(script.byte()) * 100
            actions = session.received(.welcome(welcome), at: now)
        case 3:
            _ = session.admits(.enrolmentRequest(.init()))
            actions = []
        case 4: actions = session.refuse(.busy)
        case 5 where script.byte() == 0: actions = session.disconnected()
        default: actions = session.received(script.frame(), at: now)
        }
        precondition(!isOver || actions.isEmpty, "something happened after the end")
        for action in actions {
            switch action {
            case .established: isWelcomed = true
            case .deliver, .stream, .heartbeatDue: precondition(isWelcomed, "work before the welcome")
            case .close: isOver = true
            case .send: continue
            }
        }
        precondition(session.streams.count <= Limits.streamsPerSession, "too many streams")
    }
}

/// A hello that is right but for what the script changes.
private func hello(_ script: inout Script) -> Roost_V1_Hello {
    var hello = Roost_V1_Hello()
    hello.nodeID = node.bytes
    hello.siteID = site.bytes
    hello.bootID = Data(repeating: 1, count: 16)
    hello.processID = Data(repeating: 2, count: 16)
    hello.protocolMinimum = 1
    hello.protocolMaximum = 1
    switch script.byte() {
    case 0: hello.nodeID = Data(script.bytes(16))
    case 1: hello.siteID = Data(script.bytes(16))
    case 2: hello.protocolMaximum = UInt32(script.byte())
    case 3: hello.bootID = Data(script.bytes(17))
    default: break
    }
    return hello
}
