import Crypto
import Foundation
public import ProtocolModel
import SwiftASN1
import X509

/// A certificate that the authority signed.
public struct IssuedCertificate: Hashable, Sendable {
    public let der: [UInt8]
    /// Hexadecimal in lower case: what a revocation names.
    public let serial: String
    public let notAfter: Timestamp

    public var pem: String { CertificateEncoding.pem(der: der) }
}

/// The site's certificate authority: a P-256 key that signs the manager's certificate and those of its nodes.
public struct SiteAuthority: Sendable {
    public static let lifetime = Duration.seconds(10 * 365 * 86_400)
    public static let leafLifetime = Duration.seconds(365 * 86_400)
    /// Certificates begin a little in the past, so that a host whose clock is behind can use its own at once.
    public static let clockSkew = Duration.seconds(300)
    /// A request for a P-256 key takes some 250 bytes.
    public static let requestBytes = 16 * 1024

    public let site: SiteID
    public let certificateDER: [UInt8]
    private let key: P256.Signing.PrivateKey
    private let certificate: Certificate

    /// A new authority for a site.
    public static func create(
        site: SiteID, at now: Timestamp, lifetime: Duration = SiteAuthority.lifetime
    ) throws(TrustError) -> SiteAuthority {
        let key = P256.Signing.PrivateKey()
        do {
            let name = try DistinguishedName { CommonName("Roost site \(site)") }
            let publicKey = Certificate.PublicKey(key.publicKey)
            let certificate = try Certificate(
                version: .v3, serialNumber: .init(), publicKey: publicKey, notValidBefore: (now - clockSkew).date,
                notValidAfter: (now + lifetime).date, issuer: name, subject: name,
                extensions: try Certificate.Extensions {
                    Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
                    Critical(KeyUsage(keyCertSign: true, cRLSign: true))
                    SubjectKeyIdentifier(hash: publicKey)
                    SubjectAlternativeNames([.uniformResourceIdentifier(PeerName.authority(site))])
                },
                issuerPrivateKey: .init(key))
            return SiteAuthority(site: site, key: key, certificate: certificate, der: try certificate.der())
        } catch {
            throw .failed("\(error)")
        }
    }

    private init(site: SiteID, key: P256.Signing.PrivateKey, certificate: Certificate, der: [UInt8]) {
        self.site = site
        self.key = key
        self.certificate = certificate
        self.certificateDER = der
    }

    /// Reads an authority back from its two files.
    public init(keyPEM: String, certificatePEM: String) throws(TrustError) {
        let anchor = try TrustAnchor(authorityPEM: certificatePEM)
        guard let certificate = try? Certificate(derEncoded: anchor.authorityDER) else { throw .notAnAuthority }
        guard let key = try? P256.Signing.PrivateKey(pemRepresentation: keyPEM) else {
            throw .unreadable(what: "the site authority's private key")
        }
        guard certificate.publicKey == Certificate.PublicKey(key.publicKey) else { throw .keyMismatch }
        self.init(site: anchor.site, key: key, certificate: certificate, der: anchor.authorityDER)
    }

    /// Secret: belongs in a file of mode 0600 and nowhere else.
    public var keyPEM: String { key.pemRepresentation + "\n" }
    public var certificatePEM: String { CertificateEncoding.pem(der: certificateDER) }
    public var fingerprint: CertificateFingerprint { CertificateFingerprint(der: certificateDER) }
    public var notAfter: Timestamp { Timestamp(certificate.notValidAfter) }

    /// Signs the manager's certificate. The names are for API clients that check them; agents look at the role alone.
    public func signManager(
        key: NodeKey, dnsNames: [String], addresses: [String], at now: Timestamp,
        lifetime: Duration = SiteAuthority.leafLifetime
    ) throws(TrustError) -> IssuedCertificate {
        var names: [GeneralName] = dnsNames.map { .dnsName($0) }
        for address in addresses {
            guard let bytes = Self.addressBytes(address) else { throw .badAddress(address) }
            names.append(.ipAddress(ASN1OctetString(contentBytes: bytes[...])))
        }
        return try sign(
            key.publicKey, identity: .manager, commonName: "roost-manager", names: names, at: now, lifetime: lifetime)
    }

    /// Signs a node's certificate for the key of a PKCS #10 request. Whatever names the request asks for are ignored: the
    /// manager alone says who a node is. Throws `badRequest` for one that is not readable, not signed by its own key, or
    /// for a kind of key other than P-256 and P-384.
    public func signNode(
        requestDER: [UInt8], node: NodeID, at now: Timestamp, lifetime: Duration = SiteAuthority.leafLifetime
    ) throws(TrustError) -> IssuedCertificate {
        guard requestDER.count <= Self.requestBytes,
            let request = try? CertificateSigningRequest(derEncoded: requestDER)
        else { throw .badRequest("it is not a PKCS #10 request") }
        guard P256.Signing.PublicKey(request.publicKey) != nil || P384.Signing.PublicKey(request.publicKey) != nil
        else {
            throw .badRequest("its key is neither P-256 nor P-384")
        }
        guard request.publicKey.isValidSignature(request.signature, for: request) else {
            throw .badRequest("it is not signed by its own key")
        }
        return try sign(
            request.publicKey, identity: .node(node), commonName: "\(node)", names: [], at: now, lifetime: lifetime)
    }

    private func sign(
        _ publicKey: Certificate.PublicKey, identity: PeerIdentity, commonName: String, names: [GeneralName],
        at now: Timestamp, lifetime: Duration
    ) throws(TrustError) -> IssuedCertificate {
        guard now <= notAfter else { throw .authorityExpired }
        let uri = GeneralName.uniformResourceIdentifier(PeerName.peer(identity, site: site))
        do {
            let leaf = try Certificate(
                version: .v3, serialNumber: .init(), publicKey: publicKey,
                notValidBefore: (now - Self.clockSkew).date, notValidAfter: min(now + lifetime, notAfter).date,
                issuer: certificate.subject, subject: try DistinguishedName { CommonName(commonName) },
                extensions: try Certificate.Extensions {
                    Critical(BasicConstraints.notCertificateAuthority)
                    Critical(KeyUsage(digitalSignature: true))
                    try ExtendedKeyUsage([.serverAuth, .clientAuth])
                    SubjectKeyIdentifier(hash: publicKey)
                    AuthorityKeyIdentifier(
                        keyIdentifier: SubjectKeyIdentifier(hash: certificate.publicKey).keyIdentifier)
                    SubjectAlternativeNames([uri] + names)
                },
                issuerPrivateKey: .init(key))
            return IssuedCertificate(
                der: try leaf.der(), serial: leaf.serialHexadecimal, notAfter: Timestamp(leaf.notValidAfter))
        } catch {
            throw .failed("\(error)")
        }
    }

    /// The 4 or 16 bytes of an address (RFC 5280 §4.2.1.6).
    private static func addressBytes(_ text: String) -> [UInt8]? {
        for (family, count) in [(AF_INET, 4), (AF_INET6, 16)] {
            var bytes = [UInt8](repeating: 0, count: count)
            if inet_pton(family, text, &bytes) == 1 { return bytes }
        }
        return nil
    }
}
