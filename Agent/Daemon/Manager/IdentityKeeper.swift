import AgentManagers
import AgentUplink
import ChunkPlane
import ProcessThreads
import ProtocolModel
import ProtocolTrust
import Synchronization

/// The node's identity as it is now: renewed certificates reach everybody who shows or judges certificates from here.
final class IdentityKeeper: Sendable {
    private struct State {
        var identity: EnrolledIdentity
        var client: TLSContext?
    }

    private let files: IdentityFiles
    private let thread: BlockingThreads
    private let state: Mutex<State>
    private let anchor: TrustAnchor
    private let renewed: Mutex<(@Sendable (EnrolledIdentity) -> Void)?> = Mutex(nil)

    init(identity: EnrolledIdentity, files: IdentityFiles, thread: BlockingThreads) throws(TrustError) {
        self.files = files
        self.thread = thread
        self.state = Mutex(State(identity: identity))
        self.anchor = try TrustAnchor(authorityPEM: identity.authorityPEM)
    }

    var identity: EnrolledIdentity { state.withLock { $0.identity } }

    /// Calls `body` after each renewal.
    func onRenewal(_ body: @escaping @Sendable (EnrolledIdentity) -> Void) { renewed.withLock { $0 = body } }

    func renew(_ identity: EnrolledIdentity) async throws {
        try await thread.run { [files] in try files.renew(identity) }
        state.withLock { state in
            state.identity = identity
            state.client = nil
        }
        renewed.withLock { $0 }?(identity)
    }

    /// Keeps where the managers are, for the next start.
    func keep(_ managers: [ManagerAddress]) async throws {
        try await thread.run { [files] in try files.save(managers: managers) }
    }

    var credentials: TLSCredentials {
        let identity = self.identity
        return TLSCredentials(
            certificatePEM: Array(identity.certificatePEM.utf8), privateKeyPEM: Array(identity.keyPEM.utf8))
    }

    /// For pulling chunks.
    func clientContext() throws(TransferError) -> TLSContext {
        if let context = state.withLock({ $0.client }) { return context }
        let context = try TLSContext(side: .client, credentials: credentials)
        state.withLock { $0.client = context }
        return context
    }

    /// Judges the certificate of a peer in the chunk plane.
    func verify(_ leafDER: [UInt8], at now: Timestamp) -> Result<VerifiedPeer, SessionRefusal> {
        anchor.verify(leafDER: leafDER, at: now)
    }
}
