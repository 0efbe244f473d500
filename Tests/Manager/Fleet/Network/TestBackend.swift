import Foundation
import ManagerFleetNetwork
import ProtocolMessages
import ProtocolModel
import ProtocolTrust
import ProtocolWire
import SwiftProtobuf
import Synchronization

/// A backend that writes down what it is told, and answers as the test wants.
final class TestBackend: FleetBackend {
    enum Event: Equatable, Sendable {
        case opened(NodeID, epoch: UInt64)
        case received(NodeID, ProtocolWire.Message)
        case liveness(NodeID, suspect: Bool)
        case closed(NodeID, SessionRefusal?)
        case enrolled(String)
    }

    struct State {
        var events: [Event] = []
        var sessions: [AgentConnection] = []
        var revoked: Set<String> = []
        var epoch: UInt64 = 0
        var beforeWelcome: [ProtocolWire.Message] = []
        /// While set, `received` waits.
        var isBlocked = false
        var welcomeRefusal: SessionRefusal?
    }

    let state = Mutex(State())
    let authority: SiteAuthority
    let time: any TimeSource

    init(authority: SiteAuthority, time: any TimeSource) {
        self.authority = authority
        self.time = time
    }

    var events: [Event] { state.withLock { $0.events } }
    var sessions: [AgentConnection] { state.withLock { $0.sessions } }

    func admit(_ peer: VerifiedPeer) async -> SessionRefusal? {
        state.withLock { $0.revoked.contains(peer.serial) ? .certificateRevoked : nil }
    }

    func enrol(
        _ request: Roost_V1_EnrolmentRequest, peer: VerifiedPeer?, remoteAddress: String
    ) async -> Result<Roost_V1_EnrolmentAnswer, SessionRefusal> {
        guard peer != nil || request.joinToken == "good" else { return .failure(.joinTokenInvalid) }
        let node = peer?.node ?? NodeID.generate(at: time.timestamp)
        guard
            let issued = try? authority.signNode(
                requestDER: Array(request.certificateRequestDer), node: node, at: time.timestamp)
        else { return .failure(.certificateRequestInvalid) }
        state.withLock { $0.events.append(.enrolled(request.nodeName)) }
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
        let (epoch, messages, refusal) = state.withLock { state in
            state.epoch += 1
            if state.welcomeRefusal == nil {
                state.events.append(.opened(session.nodeID, epoch: state.epoch))
                state.sessions.append(session)
            }
            return (state.epoch, state.beforeWelcome, state.welcomeRefusal)
        }
        if let refusal { return .failure(refusal) }
        for message in messages { try? session.send(message) }
        return .success(.with { $0.sessionEpoch = epoch })
    }

    func received(_ message: ProtocolWire.Message, session: AgentConnection) async {
        while state.withLock({ $0.isBlocked }) { await Task.yield() }
        state.withLock { $0.events.append(.received(session.nodeID, message)) }
    }

    func livenessChanged(_ session: AgentConnection, suspect: Bool) async {
        state.withLock { $0.events.append(.liveness(session.nodeID, suspect: suspect)) }
    }

    func closed(_ session: AgentConnection, reason: SessionRefusal?) async {
        state.withLock { $0.events.append(.closed(session.nodeID, reason)) }
    }
}
