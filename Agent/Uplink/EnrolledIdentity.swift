import Foundation
public import ProtocolModel
public import ProtocolTrust

/// What a node has once it joined: its name, and the files that prove it.
public struct EnrolledIdentity: Sendable, Equatable {
    public let nodeID: NodeID
    public let siteID: SiteID
    /// Secret: belongs in a file of mode 0600 and nowhere else.
    public let keyPEM: String
    public let certificatePEM: String
    public let authorityPEM: String

    /// Reads an identity back from its three files. Throws `TrustError` for files that do not belong together.
    public init(keyPEM: String, certificatePEM: String, authorityPEM: String) throws(TrustError) {
        let anchor = try TrustAnchor(authorityPEM: authorityPEM)
        let leaf = try CertificateEncoding.der(pem: certificatePEM)
        guard try NodeKey(pem: keyPEM).matches(certificateDER: leaf) else { throw .keyMismatch }
        // An expired certificate still says who the node is; the manager tells it to join again.
        let end = try CertificateEncoding.validity(der: leaf).upperBound
        guard case .success(let peer) = anchor.verify(leafDER: leaf, at: end), let node = peer.node else {
            throw .unreadable(what: "the node's certificate")
        }
        self.nodeID = node
        self.siteID = peer.site
        self.keyPEM = keyPEM
        self.certificatePEM = certificatePEM
        self.authorityPEM = authorityPEM
    }

    /// When the certificate is to be renewed: after two thirds of its life.
    func renewal() throws(TrustError) -> Timestamp {
        let validity = try CertificateEncoding.validity(der: CertificateEncoding.der(pem: certificatePEM))
        return validity.lowerBound + (validity.upperBound - validity.lowerBound) * 2 / 3
    }
}
