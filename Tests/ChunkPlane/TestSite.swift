import ChunkPlane
import Foundation
import ProtocolModel
import ProtocolTrust

/// A site's authority with real certificates, for connections over loopback.
struct TestSite {
    let authority: SiteAuthority
    let anchor: TrustAnchor
    let start: Timestamp

    init(now: Timestamp = SystemTime().timestamp) throws {
        start = now
        authority = try SiteAuthority.create(site: SiteID.generate(at: now), at: now)
        anchor = try TrustAnchor(authorityDER: authority.certificateDER)
    }

    func manager() throws -> TLSCredentials {
        let key = NodeKey()
        let certificate = try authority.signManager(key: key, dnsNames: ["localhost"], addresses: [], at: start)
        return TLSCredentials(certificatePEM: Array(certificate.pem.utf8), privateKeyPEM: Array(key.pem.utf8))
    }

    func node(_ node: NodeID, lifetime: Duration = .seconds(3600)) throws -> TLSCredentials {
        let key = NodeKey()
        let certificate = try authority.signNode(
            requestDER: try key.certificateRequest(name: "node"), node: node, at: start, lifetime: lifetime)
        return TLSCredentials(certificatePEM: Array(certificate.pem.utf8), privateKeyPEM: Array(key.pem.utf8))
    }

    /// Judges certificates as of `after` from now.
    func verifier(after: Duration = .zero) -> PeerVerifier {
        { [anchor, start] leaf in anchor.verify(leafDER: leaf, at: start + after) }
    }
}
