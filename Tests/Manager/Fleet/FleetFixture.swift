import Foundation
import Logging
import ManagerLifecycle
import ManagerModel
import ManagerStore
import NIOCore
import ProtocolMessages
import ProtocolModel
import ProtocolTrust
import ProtocolWire
import SwiftProtobuf
import Synchronization
import Testing
import TestsSupportWaiting

@testable import ManagerFleet
@testable import ManagerFleetNetwork

/// Clocks that only the test moves.
final class MovedTime: TimeSource {
    private let moved = Mutex(Duration.zero)
    private let start = SystemTime().timestamp

    var timestamp: Timestamp { start + moved.withLock { $0 } }
    var uptime: Uptime { Uptime(sinceStart: .seconds(1000) + moved.withLock { $0 }) }

    func pass(_ duration: Duration) { moved.withLock { $0 += duration } }
}

/// A fleet over a real record, behind a real listener on loopback with TLS. The fleet's time is the test's.
struct FleetFixture: Sendable {
    let store: Store
    let fleet: Fleet
    let authority: SiteAuthority
    let listener: AgentListener
    let port: Int
    let time: MovedTime

    static func run(
        logger: Logger = silent, _ body: @Sendable (FleetFixture) async throws -> Void
    ) async throws {
        let folder = NSTemporaryDirectory() + "roost-fleet-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try Store(path: folder + "/roost.sqlite")
        defer { store.close() }
        let time = MovedTime()
        let authority = try SiteAuthority.create(site: SiteID.generate(at: time.timestamp), at: time.timestamp)
        let key = NodeKey()
        let certificate = try authority.signManager(
            key: key, dnsNames: ["localhost"], addresses: ["127.0.0.1"], at: time.timestamp)
        let fleet = Self.fleet(store, authority, time, logger)
        _ = fleet.begin(try await Self.term(store, at: time.timestamp))
        let (ports, port) = AsyncStream.makeStream(of: Int.self)
        // The sessions' own timers run on the host's clock and never fall due: silence is the fleet's to judge.
        let listener = try AgentListener(
            configuration: .init(
                host: "127.0.0.1", port: 0, keyPEM: key.pem, certificateDER: certificate.der,
                authorityDER: authority.certificateDER, times: SessionTimes(heartbeatInterval: .seconds(600))),
            backend: fleet, time: SystemTime(), logger: logger, onListening: { port.yield($0) })
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await listener.run() }
            var iterator = ports.makeAsyncIterator()
            let bound = await iterator.next() ?? 0
            defer { group.cancelAll() }
            try await body(
                FleetFixture(
                    store: store, fleet: fleet, authority: authority, listener: listener, port: bound, time: time))
            group.cancelAll()
            try await group.waitForAll()
        }
    }

    static func fleet(_ store: Store, _ authority: SiteAuthority, _ time: MovedTime, _ logger: Logger = silent) -> Fleet
    {
        Fleet(
            store: store, authority: authority,
            settings: .init(chunkAddress: ":7403", lifecycle: LifecycleSettings(), softwareVersion: "0.0-test"),
            site: Fleet.Site(
                leaderAddress: { "leader.test:7401" }, agentAddresses: { ["leader.test:7401", "other.test:7401"] }),
            time: time, logger: logger)
    }

    /// A new term of leadership on the record; the one before is over.
    static func term(_ store: Store, at now: Timestamp) async throws -> Term {
        let term = try await store.write { sql in
            try sql.leadership.acquire(over: sql.leadership.lease(), for: .generate(at: now))
        }
        return try #require(term)
    }

    static var silent: Logger { Logger(label: "test") { _ in SwiftLogNoOpLogHandler() } }

    /// A join token as `POST /v1/nodes/tokens` records it; its secret.
    func token(for node: String? = nil, lifetime seconds: Int = 3600) async throws -> String {
        let secret = "rjt_\(UUID().uuidString)"
        let (hash, now) = (try #require(ContentDigest.of(secret)), time.timestamp)
        try await store.write { sql in
            _ = try Commands(in: sql, actor: .console, at: now, settings: LifecycleSettings())
                .createJoinToken(secretHash: hash, nodeName: node, lifetimeSeconds: seconds)
        }
        return secret
    }

    /// Asks the fleet itself for a certificate.
    func join(
        _ secret: String, as name: String, key: NodeKey = NodeKey(), request: [UInt8]? = nil
    ) async throws -> Result<Roost_V1_EnrolmentAnswer, SessionRefusal> {
        let bytes = try request ?? key.certificateRequest(name: name)
        return await fleet.enrol(
            .with {
                $0.joinToken = secret
                $0.nodeName = name
                $0.certificateRequestDer = Data(bytes)
                $0.softwareVersion = "0.0-test"
            }, peer: nil, remoteAddress: "192.0.2.1:5")
    }

    /// A node that has joined, with its credential.
    func joined(_ name: String) async throws -> (id: NodeID, credential: TestAgent.Credential) {
        let key = NodeKey()
        let answer = try await join(try await token(), as: name, key: key).get()
        return (
            try #require(NodeID(bytes: answer.nodeID)), .init(key: key, der: Array(answer.certificateDer))
        )
    }

    /// What the manager says last to an agent that says hello.
    func greet(_ node: NodeID, _ credential: TestAgent.Credential?) async throws -> SessionRefusal? {
        let agent = try await TestAgent.connect(port: port, credential: credential)
        let hello = try TestAgent.hello(node: node, site: authority.site).encoded()
        guard case .goodbye(let goodbye)? = try await agent.exchange(hello).last else { return nil }
        return SessionEnd(goodbye).refusal
    }

    /// Runs a body while the node has a session, in which the body can send.
    func session(
        of node: NodeID, _ credential: TestAgent.Credential,
        _ body: @Sendable (@Sendable (ProtocolWire.Message) async throws -> Void) async throws -> Void
    ) async throws {
        let agent = try await TestAgent.connect(port: port, credential: credential)
        let open = fleet.openSessions
        try await agent.channel.executeThenClose { inbound, outbound in
            let hello = try TestAgent.hello(node: node, site: authority.site).encoded()
            try await outbound.write(ByteBuffer(bytes: hello))
            try await eventually("the session is open") { fleet.openSessions > open }
            try await body { try await outbound.write(ByteBuffer(bytes: $0.encoded())) }
            _ = inbound
        }
        try await eventually("the session is over") { fleet.openSessions == open }
    }

    func node(_ id: NodeID) async throws -> Node? { try await store.read { try $0.nodes.find(id) } }

    func eventKinds() async throws -> [String] {
        try await store.read { try $0.events.list(after: 0, .everything, limit: 1000).map(\.kind) }
    }
}
