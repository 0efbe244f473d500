/// Whom a Roost certificate names.
public enum PeerIdentity: Hashable, Sendable {
    case manager
    case node(NodeID)
}

/// A peer whose certificate was checked against the site's authority.
public struct VerifiedPeer: Hashable, Sendable {
    public let identity: PeerIdentity
    public let site: SiteID
    /// The certificate's serial number, hexadecimal in lower case: what a revocation names.
    public let serial: String
    public let notAfter: Timestamp

    public init(identity: PeerIdentity, site: SiteID, serial: String, notAfter: Timestamp) {
        self.identity = identity
        self.site = site
        self.serial = serial
        self.notAfter = notAfter
    }

    /// The node that the certificate names; `nil` for a manager's.
    public var node: NodeID? {
        guard case .node(let node) = identity else { return nil }
        return node
    }
}
