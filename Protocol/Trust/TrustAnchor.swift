public import ProtocolModel
import SwiftASN1
import X509

/// Decides whether a certificate is one that this site's authority signed, and whom it names.
///
/// One level, by design: the authority signs every leaf itself, so that there is no path to build. Each reason to refuse
/// has its own code, which an ordinary TLS library would fold into one alert. Revocation is the manager's knowledge
/// and is asked apart.
public struct TrustAnchor: Sendable {
    public let authorityDER: [UInt8]
    public let site: SiteID
    private let authority: Certificate

    /// Critical extensions that are understood here; a certificate with another one asks for what we cannot honour.
    private static let understood: Set<ASN1ObjectIdentifier> = [
        .X509ExtensionID.basicConstraints, .X509ExtensionID.keyUsage, .X509ExtensionID.extendedKeyUsage,
        .X509ExtensionID.subjectAlternativeName, .X509ExtensionID.authorityKeyIdentifier,
        .X509ExtensionID.subjectKeyIdentifier,
    ]

    /// Throws `unreadable` or `notAnAuthority`.
    public init(authorityDER: [UInt8]) throws(TrustError) {
        guard let authority = try? Certificate(derEncoded: authorityDER) else {
            throw .unreadable(what: "the site authority's certificate")
        }
        guard authority.isAuthority, authority.publicKey.isValidSignature(authority.signature, for: authority),
            let uri = PeerName.uri(of: authority), let site = PeerName.site(ofAuthority: uri)
        else { throw .notAnAuthority }
        self.authority = authority
        self.authorityDER = authorityDER
        self.site = site
    }

    public init(authorityPEM: String) throws(TrustError) {
        try self.init(authorityDER: CertificateEncoding.der(pem: authorityPEM))
    }

    public var fingerprint: CertificateFingerprint { CertificateFingerprint(der: authorityDER) }

    /// Checks a leaf at a moment.
    ///
    /// The signature comes first: of a stranger's certificate nothing else is worth saying. Refusals:
    /// `unknownAuthority` (not readable, or not signed by this authority), `certificateExpired`,
    /// `certificateNotYetValid`, `wrongCertificateRole` (a CA, not for TLS on both sides, names no one Roost peer, or one
    /// of another site).
    public func verify(leafDER: [UInt8], at now: Timestamp) -> Result<VerifiedPeer, SessionRefusal> {
        guard let leaf = try? Certificate(derEncoded: leafDER), leaf.issuer == authority.subject,
            authority.publicKey.isValidSignature(leaf.signature, for: leaf)
        else { return .failure(.unknownAuthority) }
        let notAfter = min(Timestamp(leaf.notValidAfter), Timestamp(authority.notValidAfter))
        guard now <= notAfter else { return .failure(.certificateExpired) }
        guard now >= max(Timestamp(leaf.notValidBefore), Timestamp(authority.notValidBefore)) else {
            return .failure(.certificateNotYetValid)
        }
        guard leaf.isLeafForBothSides, leaf.extensions.allSatisfy({ !$0.critical || Self.understood.contains($0.oid) }),
            let uri = PeerName.uri(of: leaf), let (identity, site) = PeerName.parse(uri), site == self.site
        else { return .failure(.wrongCertificateRole) }
        return .success(
            VerifiedPeer(identity: identity, site: site, serial: leaf.serialHexadecimal, notAfter: notAfter))
    }
}

extension Certificate {
    fileprivate var isAuthority: Bool {
        guard case .isCertificateAuthority = try? extensions.basicConstraints else { return false }
        return true
    }

    /// Not a CA, and good for a client and a server: nodes serve chunks to one another.
    fileprivate var isLeafForBothSides: Bool {
        guard !isAuthority, let usages = try? extensions.extendedKeyUsage else { return false }
        return usages.contains(.clientAuth) && usages.contains(.serverAuth)
    }
}
