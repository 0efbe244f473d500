import AgentManagers
import AgentUplink
import Foundation
import Logging
import ManagerFleetNetwork
import ProtocolMessages
import ProtocolModel
import ProtocolTrust
import ProtocolWire
import SwiftProtobuf
import Synchronization
import Testing
import TestsSupportWaiting

@Suite("the uplink", .timeLimit(.minutes(5)))
struct UplinkTests {
    typealias Message = ProtocolWire.Message

    /// The agent's work, written down.
    final class Agent: UplinkDelegate {
        struct State {
            var started: [Roost_V1_Welcome] = []
            var received: [Message] = []
            var ended: [SessionEnd] = []
            var renewed: [EnrolledIdentity] = []
            var sender: UplinkSender?
            var failRenewal = false
        }

        struct DiskFull: Error {}

        let state = Mutex(State())

        func hello() async -> Roost_V1_Hello {
            .with {
                $0.bootID = Data(repeating: 1, count: 16)
                $0.processID = Data(repeating: 2, count: 16)
                $0.appliedRevision = 12
            }
        }

        func sessionStarted(_ welcome: Roost_V1_Welcome, send: UplinkSender) async {
            state.withLock { $0.started.append(welcome) }
            try? await send.send(.inventory(.with { $0.hostName = "cn1" }))
            state.withLock { $0.sender = send }
        }

        func received(_ message: Message) async { state.withLock { $0.received.append(message) } }
        func heartbeat() async -> Roost_V1_Heartbeat { .with { $0.runningDomains = 2 } }
        func sessionEnded(_ end: SessionEnd) async { state.withLock { $0.ended.append(end) } }

        func certificateRenewed(_ identity: EnrolledIdentity) async throws {
            try state.withLock { state in
                if state.failRenewal { throw DiskFull() }
                state.renewed.append(identity)
            }
        }
    }

    let manager: ManagerDouble
    let agent = Agent()

    init() throws {
        let now = SystemTime().timestamp
        manager = ManagerDouble(authority: try SiteAuthority.create(site: SiteID.generate(at: now), at: now))
    }

    func identity(lifetime: Duration = SiteAuthority.leafLifetime) throws -> EnrolledIdentity {
        let now = SystemTime().timestamp
        let key = NodeKey()
        let issued = try manager.authority.signNode(
            requestDER: key.certificateRequest(name: "x"), node: NodeID.generate(at: now), at: now, lifetime: lifetime)
        return try EnrolledIdentity(
            keyPEM: key.pem, certificatePEM: issued.pem, authorityPEM: manager.authority.certificatePEM)
    }

    func uplink(_ identity: EnrolledIdentity, port: Int) throws -> Uplink {
        try Uplink(
            configuration: .init(
                managers: [ManagerAddress(host: "127.0.0.1", port: port)], softwareVersion: "0.1",
                times: SessionTimes(handshake: .seconds(60), heartbeatInterval: .seconds(2)),
                backoff: Backoff(first: .milliseconds(10), maximum: .milliseconds(50))),
            identity: identity, delegate: agent, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    /// Runs an uplink beside a body.
    func running<Answer: Sendable>(
        _ uplink: Uplink, _ body: @Sendable () async throws -> Answer
    ) async throws -> Answer {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await uplink.run() }
            defer { group.cancelAll() }
            let answer = try await body()
            group.cancelAll()
            try await group.waitForAll()
            return answer
        }
    }

    @Test("introduces itself, reports, beats, receives, and says goodbye when it stops")
    func session() async throws {
        let identity = try identity()
        try await manager.serve { port in
            try await running(try uplink(identity, port: port)) {
                try await eventually("heartbeats and an inventory") {
                    manager.state.withLock { state in
                        state.received.contains(.inventory(.with { $0.hostName = "cn1" }))
                            && state.received.contains(
                                .heartbeat(
                                    .with {
                                        $0.sequence = 2; $0.runningDomains = 2
                                    }))
                    }
                }
                let hello = try #require(manager.state.withLock { $0.hellos.first })
                #expect(NodeID(bytes: hello.nodeID) == identity.nodeID && hello.appliedRevision == 12)
                #expect(hello.softwareVersion == "0.1")
                let sets: [Message] = (1...50).map { number in .assignmentSet(.with { $0.revision = UInt64(number) }) }
                let session = try #require(manager.state.withLock { $0.sessions.first })
                for message in sets { try session.send(message) }
                try await eventually("all in order") { agent.state.withLock { $0.received } == sets }
                let sender = try #require(agent.state.withLock { $0.sender })
                await #expect(throws: SessionRefusal.unexpectedMessage) {
                    try await sender.send(.assignmentSet(.init()))
                }
            }
            #expect(agent.state.withLock { $0.ended } == [.ours(.shuttingDown)])
            let sender = try #require(agent.state.withLock { $0.sender })
            await #expect(throws: SessionRefusal.shuttingDown) { try await sender.send(.inventory(.init())) }
        }
    }

    @Test("comes back after the manager restarted, with a new session")
    func reconnects() async throws {
        let identity = try identity()
        let port = try await manager.serve { $0 }
        try await running(try uplink(identity, port: port)) {
            for round in 1...3 {
                try await manager.serve(port: port) { _ in
                    try await eventually("session \(round)") { agent.state.withLock { $0.started.count } == round }
                }
                try await eventually("its end \(round)") { agent.state.withLock { $0.ended.count } == round }
                guard case .theirs(.shuttingDown, _)? = agent.state.withLock({ $0.ended.last }) else {
                    Issue.record("ended otherwise: \(agent.state.withLock { $0.ended })")
                    return
                }
            }
        }
        #expect(agent.state.withLock { $0.started.map(\.sessionEpoch) } == [1, 2, 3])
    }

    @Test("a refusal reaches the agent with its code, and it tries again")
    func refused() async throws {
        let identity = try identity()
        manager.state.withLock { $0.refusal = .certificateRevoked }
        try await manager.serve { port in
            try await running(try uplink(identity, port: port)) {
                try await eventually("it was refused twice") { manager.state.withLock { $0.asked } >= 2 }
                #expect(agent.state.withLock { $0.started.isEmpty })
                manager.state.withLock { $0.refusal = nil }
                try await eventually("a session") { agent.state.withLock { $0.started.count } == 1 }
            }
        }
    }

    @Test("does not talk to another site's manager")
    func foreignManager() async throws {
        let now = SystemTime().timestamp
        let stranger = ManagerDouble(authority: try SiteAuthority.create(site: manager.authority.site, at: now))
        let identity = try identity()
        try await stranger.serve { port in
            try await running(try uplink(identity, port: port)) {
                try await eventually("it hung up twice") {
                    (stranger.state.withLock { $0.counters }?.values.handshakesFailed ?? 0) >= 2
                }
                #expect(agent.state.withLock { $0.started.isEmpty })
            }
        }
        #expect(stranger.state.withLock { $0.hellos.isEmpty })
    }

    @Test("the certificate renews itself in the session; the new one is used next")
    func renewal() async throws {
        // Two thirds of its life are over: it began five minutes ago and ends in one.
        let identity = try identity(lifetime: .seconds(60))
        try await manager.serve { port in
            let uplink = try uplink(identity, port: port)
            try await running(uplink) {
                try await eventually("renewed") { agent.state.withLock { $0.renewed.count } == 1 }
                try await eventually("in use") { uplink.identity != identity }
                #expect(uplink.identity == agent.state.withLock { $0.renewed.last })
                #expect(uplink.identity.nodeID == identity.nodeID && uplink.identity.keyPEM != identity.keyPEM)
                manager.state.withLock { $0.sessions.last }?.close(.superseded)
                try await eventually("another session") { agent.state.withLock { $0.started.count } == 2 }
            }
        }
        #expect(manager.state.withLock { $0.enrolments } == 1)
    }

    @Test("a renewed certificate that cannot be kept is not used")
    func renewalNotKept() async throws {
        let identity = try identity(lifetime: .seconds(60))
        agent.state.withLock { $0.failRenewal = true }
        try await manager.serve { port in
            let uplink = try uplink(identity, port: port)
            try await running(uplink) {
                try await eventually("asked") { manager.state.withLock { $0.enrolments } == 1 }
                let batch = Message.usageAcknowledgement(.with { $0.number = 1 })
                try manager.state.withLock { $0.sessions.last }?.send(batch)
                try await eventually("behind the answer") { agent.state.withLock { $0.received } == [batch] }
                #expect(uplink.identity == identity)
            }
        }
    }
}
