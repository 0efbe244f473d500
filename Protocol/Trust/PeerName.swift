import ProtocolModel
import X509

/// How a certificate names a peer: one URI in its subject alternative name (SPEC §9).
enum PeerName {
    static let prefix = "urn:roost:"

    static func authority(_ site: SiteID) -> String { "\(prefix)site:\(site)" }

    static func peer(_ identity: PeerIdentity, site: SiteID) -> String {
        switch identity {
        case .manager: "\(prefix)manager:\(site)"
        case .node(let node): "\(prefix)node:\(site):\(node)"
        }
    }

    /// The one Roost URI of a certificate; `nil` where there is none or more than one, since a certificate that names
    /// two peers could pass for either.
    static func uri(of certificate: Certificate) -> String? {
        guard let names = try? certificate.extensions.subjectAlternativeNames else { return nil }
        var found: [String] = []
        for name in names {
            if case .uniformResourceIdentifier(let uri) = name, uri.hasPrefix(prefix) { found.append(uri) }
        }
        return found.count == 1 ? found[0] : nil
    }

    static func site(ofAuthority uri: String) -> SiteID? {
        let parts = uri.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 4, parts[2] == "site" else { return nil }
        return SiteID(parts[3])
    }

    static func parse(_ uri: String) -> (identity: PeerIdentity, site: SiteID)? {
        let parts = uri.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count >= 4, let site = SiteID(parts[3]) else { return nil }
        switch parts[2] {
        case "manager" where parts.count == 4:
            return (.manager, site)
        case "node" where parts.count == 5:
            guard let node = NodeID(parts[4]) else { return nil }
            return (.node(node), site)
        default:
            return nil
        }
    }
}
