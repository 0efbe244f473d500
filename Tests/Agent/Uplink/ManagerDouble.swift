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

/// The real listener before a backend that writes down what it is told.
final class ManagerDouble: FleetBackend {
    struct State {
        var sessions: [AgentConnection] = []
        var hellos: [Roost_V1_Hello] = []
        var received: [ProtocolWire.Message] = []
        var enrolments = 0
        var refusal: SessionRefusal?
        var certificateLifetime = SiteAuthority.leafLifetime
        var opened = 0
        /// Peers that were asked about.
        var asked = 0
        var counters: ListenerCounters?
    }

    let state = Mutex(State())
    let authority: SiteAuthority
    let time = SystemTime()

    init(authority: SiteAuthority) { self.authority = authority }

    func admit(_ peer: VerifiedPeer) async -> SessionRefusal? {
        state.withLock { state in
            state.asked += 1
            return state.refusal
        }
    }

    func enrol(
        _ request: Roost_V1_EnrolmentRequest, peer: VerifiedPeer?, remoteAddress: String
    ) async -> Result<Roost_V1_EnrolmentAnswer, SessionRefusal> {
        switch (peer, request.joinToken) {
        case (.some, _), (nil, "good"): break
        case (nil, "used"): return .failure(.joinTokenUsed)
        case (nil, _): return .failure(.joinTokenInvalid)
        }
        let node = peer?.node ?? NodeID.generate(at: time.timestamp)
        let lifetime = state.withLock { state in
            state.enrolments += 1
            return state.certificateLifetime
        }
        guard
            let issued = try? authority.signNode(
                requestDER: Array(request.certificateRequestDer), node: node, at: time.timestamp, lifetime: lifetime)
        else { return .failure(.certificateRequestInvalid) }
        return .success(
            .with {
                $0.nodeID = node.bytes
                $0.siteID = authority.site.bytes
                $0.certificateDer = Data(issued.der)
                $0.authorityCertificateDer = Data(authority.certificateDER)
            })
    }

    func open(
        _ hello: Roost_V1_Hello, peer: VerifiedPeer, session: AgentConnection
    ) async -> Result<Roost_V1_Welcome, SessionRefusal> {
        state.withLock { state in
            state.opened += 1
            state.sessions.append(session)
            state.hellos.append(hello)
            return .success(.with { $0.sessionEpoch = UInt64(state.opened) })
        }
    }

    func received(_ message: ProtocolWire.Message, session: AgentConnection) async {
        state.withLock { $0.received.append(message) }
    }

    func closed(_ session: AgentConnection, reason: SessionRefusal?) async {}

    /// Runs a body beside a listener on a free port (or the given one) of loopback.
    func serve<Answer: Sendable>(
        port: Int = 0, certificate: (NodeKey, IssuedCertificate)? = nil,
        times: SessionTimes = SessionTimes(heartbeatInterval: .seconds(2)),
        _ body: @Sendable (Int) async throws -> Answer
    ) async throws -> Answer {
        let key = certificate?.0 ?? NodeKey()
        let issued =
            try certificate?.1
            ?? authority.signManager(key: key, dnsNames: [], addresses: [], at: time.timestamp)
        let (ports, found) = AsyncStream.makeStream(of: Int.self)
        let listener = try AgentListener(
            configuration: .init(
                host: "127.0.0.1", port: port, keyPEM: key.pem, certificateDER: issued.der,
                authorityDER: authority.certificateDER, times: times),
            backend: self, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            onListening: { found.yield($0) })
        state.withLock { $0.counters = listener.counters }
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await listener.run() }
            var iterator = ports.makeAsyncIterator()
            let bound = await iterator.next() ?? 0
            defer { group.cancelAll() }
            let answer = try await body(bound)
            group.cancelAll()
            try await group.waitForAll()
            return answer
        }
    }
}
