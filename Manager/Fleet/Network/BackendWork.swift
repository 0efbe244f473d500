import ProtocolMessages
import ProtocolModel
import ProtocolWire

/// One call of the backend on behalf of a session, and what came of it.
enum BackendWork: Sendable {
    case admit(VerifiedPeer)
    case enrol(Roost_V1_EnrolmentRequest, VerifiedPeer?, remoteAddress: String)
    case open(Roost_V1_Hello, VerifiedPeer, AgentConnection)
    case deliver(Message, AgentConnection)
    case liveness(AgentConnection, suspect: Bool)
    case closed(AgentConnection, SessionRefusal?)

    enum Outcome: Sendable {
        case admitted(VerifiedPeer, SessionRefusal?)
        case enrolled(Result<Roost_V1_EnrolmentAnswer, SessionRefusal>)
        case opened(Result<Roost_V1_Welcome, SessionRefusal>)
        case done
    }

    func perform(_ backend: any FleetBackend) async -> Outcome {
        switch self {
        case .admit(let peer):
            return .admitted(peer, await backend.admit(peer))
        case .enrol(let request, let peer, let address):
            return .enrolled(await backend.enrol(request, peer: peer, remoteAddress: address))
        case .open(let hello, let peer, let session):
            return .opened(await backend.open(hello, peer: peer, session: session))
        case .deliver(let message, let session):
            await backend.received(message, session: session)
        case .liveness(let session, let suspect):
            await backend.livenessChanged(session, suspect: suspect)
        case .closed(let session, let reason):
            await backend.closed(session, reason: reason)
        }
        return .done
    }
}
