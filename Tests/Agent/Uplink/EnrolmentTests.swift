import AgentManagers
import AgentUplink
import Foundation
import ProtocolModel
import ProtocolTrust
import Synchronization
import Testing

@Suite("joining a site", .timeLimit(.minutes(5)))
struct EnrolmentTests {
    let manager: ManagerDouble

    init() throws {
        let now = SystemTime().timestamp
        manager = ManagerDouble(authority: try SiteAuthority.create(site: SiteID.generate(at: now), at: now))
    }

    func join(
        _ port: Int, token: String, fingerprint: CertificateFingerprint? = nil
    ) async -> Result<
        EnrolledIdentity, JoinError
    > {
        do throws(JoinError) {
            return .success(
                try await Enrolment.join(
                    managerAddress: ManagerAddress(host: "127.0.0.1", port: port), token: token,
                    caFingerprint: fingerprint ?? manager.authority.fingerprint, nodeName: "cn1", softwareVersion: "0.1"
                ))
        } catch {
            return .failure(error)
        }
    }

    @Test("a token and the fingerprint give an identity that proves itself")
    func joins() async throws {
        let identity = try await manager.serve { port in try await join(port, token: "good").get() }
        #expect(identity.siteID == manager.authority.site)
        let anchor = try TrustAnchor(authorityPEM: identity.authorityPEM)
        let der = try CertificateEncoding.der(pem: identity.certificatePEM)
        #expect(try anchor.verify(leafDER: der, at: SystemTime().timestamp).get().node == identity.nodeID)
        #expect(try NodeKey(pem: identity.keyPEM).matches(certificateDER: der))
        let again = try EnrolledIdentity(
            keyPEM: identity.keyPEM, certificatePEM: identity.certificatePEM, authorityPEM: identity.authorityPEM)
        #expect(again == identity)
        #expect(throws: TrustError.keyMismatch) {
            try EnrolledIdentity(
                keyPEM: NodeKey().pem, certificatePEM: identity.certificatePEM, authorityPEM: identity.authorityPEM)
        }
    }

    @Test("a refused token is a clear sentence")
    func refusedTokens() async throws {
        try await manager.serve { port in
            #expect(await join(port, token: "bad") == .failure(.refused(.joinTokenInvalid)))
            #expect(await join(port, token: "used") == .failure(.refused(.joinTokenUsed)))
        }
        #expect(JoinError.refused(.joinTokenUsed).description.contains("each serves once"))
    }

    @Test("with another fingerprint the token stays here")
    func fingerprint() async throws {
        let now = SystemTime().timestamp
        let other = try SiteAuthority.create(site: manager.authority.site, at: now)
        try await manager.serve { port in
            let address = ManagerAddress(host: "127.0.0.1", port: port)
            #expect(
                await join(port, token: "good", fingerprint: other.fingerprint)
                    == .failure(.fingerprintDiffers(address)))
        }
        #expect(manager.state.withLock { $0.enrolments } == 0)
    }

    @Test("a node that plays the manager gets no token")
    func nodeAsManager() async throws {
        let now = SystemTime().timestamp
        let key = NodeKey()
        let node = try manager.authority.signNode(
            requestDER: key.certificateRequest(name: "x"), node: NodeID.generate(at: now), at: now)
        try await manager.serve(certificate: (key, node)) { port in
            let address = ManagerAddress(host: "127.0.0.1", port: port)
            #expect(
                await join(port, token: "good") == .failure(.notTheManager(address, .wrongCertificateRole)))
        }
        #expect(manager.state.withLock { $0.enrolments } == 0)
    }

    @Test("somebody else's leaf beside the right authority gets no token")
    func foreignLeaf() async throws {
        let now = SystemTime().timestamp
        let stranger = try SiteAuthority.create(site: manager.authority.site, at: now)
        let key = NodeKey()
        let leaf = try stranger.signManager(key: key, dnsNames: [], addresses: [], at: now)
        try await manager.serve(certificate: (key, leaf)) { port in
            let address = ManagerAddress(host: "127.0.0.1", port: port)
            #expect(await join(port, token: "good") == .failure(.notTheManager(address, .unknownAuthority)))
        }
        #expect(manager.state.withLock { $0.enrolments } == 0)
    }

    @Test("nobody there")
    func unreachable() async throws {
        let port = try await manager.serve { $0 }
        guard case .failure(.unreachable) = await join(port, token: "good") else {
            Issue.record("no such error")
            return
        }
    }
}
