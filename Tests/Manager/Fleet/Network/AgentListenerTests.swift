import Foundation
import ManagerFleetNetwork
import NIOCore
import NIOPosix
import NIOSSL
import ProtocolMessages
import ProtocolModel
import ProtocolTrust
import ProtocolWire
import SwiftProtobuf
import Synchronization
import Testing
import TestsSupportWaiting

@Suite("the agents' port (SEC-07)", .timeLimit(.minutes(5)))
struct AgentListenerTests {
    typealias Message = ProtocolWire.Message

    @Test("each stranger is refused with its own code, is counted, and disturbs no session")
    func refusals() async throws {
        try await ListenerFixture.run { fixture in
            let node = fixture.newNode()
            let good = try fixture.credential(node: node)
            let hello = try TestAgent.hello(node: node, site: fixture.authority.site).encoded()
            let revoked = try fixture.credential(node: node)
            let serial = try TrustAnchor(authorityDER: fixture.authority.certificateDER)
                .verify(leafDER: revoked.der, at: fixture.time.timestamp).get().serial
            fixture.backend.state.withLock { _ = $0.revoked.insert(serial) }
            let stranger = try SiteAuthority.create(site: fixture.authority.site, at: fixture.time.timestamp)
            let managerKey = NodeKey()
            let manager = TestAgent.Credential(
                key: managerKey,
                der: try fixture.authority.signManager(
                    key: managerKey, dnsNames: [], addresses: [], at: fixture.time.timestamp
                ).der)

            // A session that has to live through all of it.
            let witness = fixture.newNode()
            let agent = try await TestAgent.connect(port: fixture.port, credential: fixture.credential(node: witness))
            try await agent.channel.executeThenClose { inbound, outbound in
                let greeting = try TestAgent.hello(node: witness, site: fixture.authority.site).encoded()
                try await outbound.write(ByteBuffer(bytes: greeting))
                try await eventually("the witness is open") { fixture.backend.sessions.count == 1 }

                let future = try TestAgent.hello(node: node, site: fixture.authority.site) {
                    $0.protocolMinimum = 7
                    $0.protocolMaximum = 8
                }.encoded()
                let foreign = try TestAgent.hello(node: witness, site: fixture.authority.site).encoded()
                let cases: [(TestAgent.Credential?, [UInt8], SessionRefusal)] = [
                    (nil, hello, .noCertificate),
                    (
                        try fixture.credential(node: node, shift: .seconds(-7200), lifetime: .seconds(60)), hello,
                        .certificateExpired
                    ),
                    (try fixture.credential(node: node, shift: .seconds(7200)), hello, .certificateNotYetValid),
                    (try fixture.credential(node: node, from: stranger), hello, .unknownAuthority),
                    (manager, hello, .wrongCertificateRole),
                    (revoked, hello, .certificateRevoked),
                    (good, future, .unsupportedProtocol),
                    (good, foreign, .identityMismatch),
                    (good, [0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0], .frameTooLarge),
                    (good, [0, 1, 0, 1, 1, 0, 0, 0], .frameTooLarge),
                    (good, Array("GET / HTTP/1.1\r\n\r\n".utf8), .malformedFrame),
                    (good, [0, 0, 0, 2, 1, 0, 0, 0, 0xFF, 0xFF], .malformedMessage),
                    (good, try Message.heartbeat(.init()).encoded(), .unexpectedMessage),
                    (good, hello + hello, .unexpectedMessage),
                    (nil, try Message.enrolmentRequest(.with { $0.joinToken = "bad" }).encoded(), .joinTokenInvalid),
                    (
                        nil, try Message.enrolmentRequest(.with { $0.joinToken = "good" }).encoded(),
                        .certificateRequestInvalid
                    ),
                ]
                for (credential, bytes, expected) in cases {
                    let before = fixture.listener.counters.values.refusals[expected, default: 0]
                    #expect(try await fixture.refusal(credential, bytes) == expected)
                    #expect(fixture.listener.counters.values.refusals[expected, default: 0] == before + 1)
                }
                #expect(try await fixture.refusal(good, hello, alpn: "http/1.1") == .unsupportedProtocol)

                // The witness was not disturbed: it still is heard.
                try await outbound.write(ByteBuffer(bytes: try Message.heartbeat(.with { $0.sequence = 7 }).encoded()))
                let heard = TestBackend.Event.received(witness, .heartbeat(.with { $0.sequence = 7 }))
                try await eventually("the witness is heard") { fixture.backend.events.contains(heard) }
                #expect(fixture.listener.counters.values.open == 1)
                _ = inbound
            }
            try await eventually("nothing is left behind") {
                let values = fixture.listener.counters.values
                return values.open == 0 && values.pending == 0
            }
        }
    }

    @Test("older TLS and plain text get nowhere")
    func transport() async throws {
        try await ListenerFixture.run { fixture in
            let old = try await TestAgent.connect(port: fixture.port, credential: nil, version: .tlsv12)
            #expect(try await old.exchange([]).isEmpty)
            let plain = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connect(host: "127.0.0.1", port: fixture.port).get()
            plain.writeAndFlush(ByteBuffer(string: "GET / HTTP/1.1\r\n\r\n"), promise: nil)
            try? await plain.closeFuture.get()
            try await eventually("both are counted") { fixture.listener.counters.values.handshakesFailed == 2 }
        }
    }

    @Test("a session: hello, welcome with the manager's intervals, messages in order, and the end is told once")
    func session() async throws {
        try await ListenerFixture.run { fixture in
            let node = fixture.newNode()
            let early = Message.assignmentSet(
                .with {
                    $0.revision = 3; $0.full = true
                })
            fixture.backend.state.withLock { $0.beforeWelcome = [early] }
            let agent = try await TestAgent.connect(port: fixture.port, credential: fixture.credential(node: node))
            let sent: [Message] = (1...20).map { number in .usageBatch(.with { $0.number = UInt64(number) }) }
            let bytes = try [TestAgent.hello(node: node, site: fixture.authority.site)].map { try $0.encoded() }
            let later = try sent.flatMap { try $0.encoded() }
            try await agent.channel.executeThenClose { inbound, outbound in
                try await outbound.write(ByteBuffer(bytes: bytes.flatMap { $0 }))
                var decoder = FrameDecoder()
                var received: [Message] = []
                for try await buffer in inbound {
                    buffer.withUnsafeReadableBytes { decoder.append($0) }
                    while let frame = try decoder.next() { received.append(try Message(frame: frame)) }
                    if received.count == 2 { break }
                }
                guard case .welcome(let welcome)? = received.first else {
                    Issue.record("no welcome: \(received)")
                    return
                }
                #expect(welcome.protocol == 1 && welcome.sessionEpoch == 1 && welcome.heartbeatIntervalMs == 60_000)
                #expect(received.last == early)
                try await outbound.write(ByteBuffer(bytes: later))
                try await eventually("all batches came") { fixture.backend.events.count == 1 + sent.count }
            }
            let closed = TestBackend.Event.closed(node, nil)
            try await eventually("the end is told") { fixture.backend.events.last == closed }
            #expect(
                fixture.backend.events
                    == [.opened(node, epoch: 1)] + sent.map { .received(node, $0) } + [closed])
            let session = try #require(fixture.backend.sessions.first)
            #expect(session.epoch == 1)
            #expect(throws: SessionRefusal.self) { try session.send(early) }
        }
    }

    @Test("a connection that breaks in the middle of a frame is a lost connection, and the node comes back")
    func brokenFrame() async throws {
        try await ListenerFixture.run { fixture in
            let node = fixture.newNode()
            let credential = try fixture.credential(node: node)
            let hello = try TestAgent.hello(node: node, site: fixture.authority.site).encoded()
            for attempt in 1...3 {
                let agent = try await TestAgent.connect(port: fixture.port, credential: credential)
                try await agent.channel.executeThenClose { _, outbound in
                    try await outbound.write(ByteBuffer(bytes: hello))
                    try await eventually("open") { fixture.backend.sessions.count == attempt }
                    // Half an inventory, then the socket is gone without a word of TLS.
                    try await outbound.write(ByteBuffer(bytes: [0, 0, 1, 0, 0x20, 0, 0, 0, 1, 2, 3]))
                    try await agent.channel.channel.close(mode: .all).get()
                }
                try await eventually("closed") {
                    fixture.backend.events.filter { $0 == .closed(node, nil) }.count == attempt
                }
            }
            #expect(fixture.listener.counters.values.refusals.isEmpty)
        }
    }

    @Test("the manager ends a session with its reason, which the backend hears too")
    func superseded() async throws {
        try await ListenerFixture.run { fixture in
            let node = fixture.newNode()
            let agent = try await TestAgent.connect(port: fixture.port, credential: fixture.credential(node: node))
            let hello = try TestAgent.hello(node: node, site: fixture.authority.site).encoded()
            async let messages = agent.exchange(hello)
            try await eventually("open") { fixture.backend.sessions.first?.epoch == 1 }
            fixture.backend.sessions.first?.close(.superseded)
            #expect(try await messages.last == .goodbye(.superseded))
            try await eventually("told") { fixture.backend.events.last == .closed(node, .superseded) }
        }
    }

    @Test("a peer that reads nothing is dropped, and what waits for it stays bounded")
    func slowPeer() async throws {
        try await ListenerFixture.run { fixture in
            let node = fixture.newNode()
            let agent = try await TestAgent.connect(port: fixture.port, credential: fixture.credential(node: node))
            let hello = try TestAgent.hello(node: node, site: fixture.authority.site).encoded()
            try await agent.channel.executeThenClose { _, outbound in
                try await outbound.write(ByteBuffer(bytes: hello))
                try await eventually("open") { fixture.backend.sessions.first?.epoch == 1 }
                try await agent.channel.channel.setOption(.autoRead, value: false).get()
                let session = try #require(fixture.backend.sessions.first)
                let large = Message.assignmentSet(
                    .with { $0.instances = [.with { $0.userData = Data(repeating: 1, count: 1 << 20) }] })
                var sent = 0
                let refusal = #expect(throws: SessionRefusal.self) {
                    while sent < 200 {
                        try session.send(large)
                        sent += 1
                    }
                }
                #expect(refusal == .slowPeer)
                #expect(session.queuedFrames <= 17)
                try await eventually("told") { fixture.backend.events.last == .closed(node, .slowPeer) }
            }
        }
    }

    @Test("a busy backend holds up one agent and no other, and counts no silence against it")
    func backPressure() async throws {
        let times = SessionTimes(heartbeatInterval: .milliseconds(100))
        try await ListenerFixture.run(times: times) { fixture in
            let node = fixture.newNode()
            fixture.backend.state.withLock { $0.isBlocked = true }
            let agent = try await TestAgent.connect(port: fixture.port, credential: fixture.credential(node: node))
            let hello = try TestAgent.hello(node: node, site: fixture.authority.site).encoded()
            try await agent.channel.executeThenClose { _, outbound in
                try await outbound.write(ByteBuffer(bytes: hello))
                try await eventually("open") { fixture.backend.sessions.count == 1 }
                let batch = try Message.usageBatch(.with { $0.number = 1 }).encoded()
                try await outbound.write(ByteBuffer(bytes: batch))
                // Another agent gets its answer while the first one's message is being worked on for longer than six
                // heartbeat intervals.
                let start = ContinuousClock().now
                while ContinuousClock().now - start < .seconds(1) {
                    let other = fixture.newNode()
                    let second = try await TestAgent.connect(
                        port: fixture.port, credential: fixture.credential(node: other))
                    let greeting = try TestAgent.hello(node: other, site: fixture.authority.site).encoded()
                    let answer = try await second.exchange(greeting, expecting: 1)
                    guard case .welcome? = answer.first else {
                        Issue.record("no welcome: \(answer)")
                        break
                    }
                }
                fixture.backend.state.withLock { $0.isBlocked = false }
                let heard = TestBackend.Event.received(node, .usageBatch(.with { $0.number = 1 }))
                try await eventually("heard") { fixture.backend.events.contains(heard) }
                #expect(!fixture.backend.events.contains(.closed(node, .heartbeatLost)))
                // Silence that is the agent's own counts: suspect, then down.
                try await eventually("down") { fixture.backend.events.contains(.closed(node, .heartbeatLost)) }
                #expect(fixture.backend.events.contains(.liveness(node, suspect: true)))
            }
        }
    }

    @Test("one address cannot take all places of those who have not introduced themselves")
    func pendingLimit() async throws {
        try await ListenerFixture.run(perAddress: 4) { fixture in
            var idle: [any Channel] = []
            for _ in 0..<8 {
                idle.append(
                    try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                        .connect(host: "127.0.0.1", port: fixture.port).get())
            }
            try await eventually("four are turned away") { fixture.listener.counters.values.refusals[.busy] == 4 }
            #expect(fixture.listener.counters.values.pending <= 4)
            for channel in idle { try? await channel.close().get() }
            try await eventually("places are free again") { fixture.listener.counters.values.pending == 0 }
            let node = fixture.newNode()
            let agent = try await TestAgent.connect(port: fixture.port, credential: fixture.credential(node: node))
            let hello = try TestAgent.hello(node: node, site: fixture.authority.site).encoded()
            guard case .welcome? = try await agent.exchange(hello, expecting: 1).first else {
                Issue.record("no welcome")
                return
            }
        }
    }

    @Test("who does not speak is not waited for")
    func silentPeer() async throws {
        let times = SessionTimes(handshake: .seconds(2), heartbeatInterval: .seconds(60))
        try await ListenerFixture.run(times: times) { fixture in
            let credential = try fixture.credential(node: fixture.newNode())
            #expect(try await fixture.refusal(credential, []) == .handshakeTimeout)
            let mute = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connect(host: "127.0.0.1", port: fixture.port).get()
            try await mute.closeFuture.get()
            #expect(fixture.listener.counters.values.handshakesFailed == 1)
        }
    }

    @Test("stopping says goodbye to every session and tells the backend of each before it returns")
    func stop() async throws {
        let (agent, backend, node) = try await ListenerFixture.run { fixture in
            let node = fixture.newNode()
            let agent = try await TestAgent.connect(port: fixture.port, credential: fixture.credential(node: node))
            let hello = try TestAgent.hello(node: node, site: fixture.authority.site).encoded()
            let messages = Task { try await agent.exchange(hello) }
            try await eventually("open") { fixture.backend.sessions.first?.epoch == 1 }
            return (messages, fixture.backend, node)
        }
        #expect(backend.events.last == .closed(node, .shuttingDown))
        #expect(try await agent.value.last == .goodbye(.shuttingDown))
    }
}
