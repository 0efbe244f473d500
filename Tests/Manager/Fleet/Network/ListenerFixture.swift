import Foundation
import Logging
import ManagerFleetNetwork
import NIOCore
import ProtocolModel
import ProtocolTrust
import ProtocolWire

/// A clock that stands where the test puts it, and an uptime that runs.
struct TestTime: TimeSource {
    var timestamp = SystemTime().timestamp
    var uptime: Uptime { SystemTime().uptime }
}

/// A listener on loopback with its authority.
struct ListenerFixture: Sendable {
    let authority: SiteAuthority
    let backend: TestBackend
    let listener: AgentListener
    let port: Int
    let time: TestTime

    /// Runs a body beside a listener, and stops the listener after it.
    static func run<Answer: Sendable>(
        times: SessionTimes = SessionTimes(heartbeatInterval: .seconds(60)), perAddress: Int = 128,
        _ body: @Sendable (ListenerFixture) async throws -> Answer
    ) async throws -> Answer {
        let time = TestTime()
        let authority = try SiteAuthority.create(site: SiteID.generate(at: time.timestamp), at: time.timestamp)
        let key = NodeKey()
        let certificate = try authority.signManager(
            key: key, dnsNames: ["localhost"], addresses: ["127.0.0.1"], at: time.timestamp)
        let backend = TestBackend(authority: authority, time: time)
        let (ports, port) = AsyncStream.makeStream(of: Int.self)
        let listener = try AgentListener(
            configuration: .init(
                host: "127.0.0.1", port: 0, keyPEM: key.pem, certificateDER: certificate.der,
                authorityDER: authority.certificateDER, times: times, pendingConnectionsPerAddress: perAddress),
            backend: backend, time: time, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            onListening: { port.yield($0) })
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await listener.run() }
            var iterator = ports.makeAsyncIterator()
            let bound = await iterator.next() ?? 0
            let fixture = ListenerFixture(
                authority: authority, backend: backend, listener: listener, port: bound, time: time)
            defer { group.cancelAll() }
            let answer = try await body(fixture)
            group.cancelAll()
            try await group.waitForAll()
            return answer
        }
    }

    func credential(
        node: NodeID, from other: SiteAuthority? = nil, shift: Duration = .zero,
        lifetime: Duration = SiteAuthority.leafLifetime
    ) throws -> TestAgent.Credential {
        let key = NodeKey()
        let issued = try (other ?? authority).signNode(
            requestDER: key.certificateRequest(name: "x"), node: node, at: time.timestamp + shift, lifetime: lifetime)
        return .init(key: key, der: issued.der)
    }

    func newNode() -> NodeID { NodeID.generate(at: time.timestamp) }

    /// What the manager says last to an agent with this credential that begins with these bytes.
    func refusal(
        _ credential: TestAgent.Credential?, _ bytes: [UInt8], alpn: String = "roost/1"
    ) async throws
        -> SessionRefusal?
    {
        let agent = try await TestAgent.connect(port: port, credential: credential, alpn: alpn)
        guard case .goodbye(let goodbye)? = try await agent.exchange(bytes).last else { return nil }
        return SessionEnd(goodbye).refusal
    }
}
