import Crypto
import Foundation
import ProtocolModel
import ProtocolTrust
import SwiftASN1
import Testing
import X509

@Suite("certificates of a site (SEC-07)")
struct TrustTests {
    static let now = Timestamp(milliseconds: 1_800_000_000_000)
    static let site = SiteID(UUID(uuid: (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)))
    static let node = NodeID(UUID(uuid: (2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)))

    let authority: SiteAuthority
    let anchor: TrustAnchor

    init() throws {
        authority = try SiteAuthority.create(site: Self.site, at: Self.now)
        anchor = try TrustAnchor(authorityDER: authority.certificateDER)
    }

    func nodeCertificate(
        at now: Timestamp = now, lifetime: Duration = SiteAuthority.leafLifetime
    ) throws
        -> IssuedCertificate
    {
        let request = try NodeKey().certificateRequest(name: "cn1")
        return try authority.signNode(requestDER: request, node: Self.node, at: now, lifetime: lifetime)
    }

    /// A leaf signed with the key of this site's authority, with whatever else is asked for.
    func leaf(_ extensions: Certificate.Extensions) throws -> [UInt8] {
        let issuer = try Certificate(derEncoded: authority.certificateDER)
        let key = try P256.Signing.PrivateKey(pemRepresentation: authority.keyPEM)
        let certificate = try Certificate(
            version: .v3, serialNumber: .init(), publicKey: .init(P256.Signing.PrivateKey().publicKey),
            notValidBefore: Date(timeIntervalSince1970: 1_799_000_000),
            notValidAfter: Date(timeIntervalSince1970: 1_801_000_000), issuer: issuer.subject,
            subject: try DistinguishedName { CommonName("x") }, extensions: extensions, issuerPrivateKey: .init(key))
        var serializer = DER.Serializer()
        try serializer.serialize(certificate)
        return serializer.serializedBytes
    }

    @Test("a node's certificate says who it is")
    func node() throws {
        let issued = try nodeCertificate()
        let peer = try anchor.verify(leafDER: issued.der, at: Self.now).get()
        #expect(peer.identity == .node(Self.node) && peer.site == Self.site)
        #expect(peer.serial == issued.serial && peer.notAfter == issued.notAfter)
        #expect(issued.notAfter == Self.now + .seconds(365 * 86_400))
        #expect(!issued.serial.isEmpty)
    }

    @Test("a manager's certificate says what it is, and carries names for its API")
    func manager() throws {
        let issued = try authority.signManager(
            key: NodeKey(), dnsNames: ["roost.example"], addresses: ["192.0.2.7", "2001:db8::7"], at: Self.now)
        #expect(try anchor.verify(leafDER: issued.der, at: Self.now).get().identity == .manager)
        let names = try #require(try Certificate(derEncoded: issued.der).extensions.subjectAlternativeNames)
        #expect(names.contains(.dnsName("roost.example")))
        #expect(names.contains(.ipAddress(ASN1OctetString(contentBytes: [192, 0, 2, 7]))))
        #expect(throws: TrustError.badAddress("here")) {
            try authority.signManager(key: NodeKey(), dnsNames: [], addresses: ["here"], at: Self.now)
        }
    }

    @Test("a clock that is five minutes behind is no obstacle; one that is further behind is named")
    func clockSkew() throws {
        let der = try nodeCertificate().der
        #expect(throws: Never.self) { try anchor.verify(leafDER: der, at: Self.now - .seconds(299)).get() }
        #expect(anchor.verify(leafDER: der, at: Self.now - .seconds(301)) == .failure(.certificateNotYetValid))
    }

    @Test("an expired certificate is refused as that")
    func expired() throws {
        let issued = try nodeCertificate(lifetime: .seconds(60))
        #expect(throws: Never.self) { try anchor.verify(leafDER: issued.der, at: Self.now + .seconds(60)).get() }
        #expect(anchor.verify(leafDER: issued.der, at: Self.now + .seconds(62)) == .failure(.certificateExpired))
    }

    @Test("another authority's certificate is refused, even one of the same name and site")
    func wrongAuthority() throws {
        let other = try SiteAuthority.create(site: Self.site, at: Self.now)
        let request = try NodeKey().certificateRequest(name: "cn1")
        let der = try other.signNode(requestDER: request, node: Self.node, at: Self.now).der
        #expect(anchor.verify(leafDER: der, at: Self.now) == .failure(.unknownAuthority))
    }

    @Test("a certificate with a changed byte is refused", arguments: stride(from: 0, to: 400, by: 7).map { $0 })
    func changedByte(position: Int) throws {
        var der = try nodeCertificate().der
        try #require(position < der.count)
        der[position] ^= 0x01
        #expect(throws: SessionRefusal.self) { try anchor.verify(leafDER: der, at: Self.now).get() }
    }

    @Test("bytes that are no certificate are refused", arguments: [[], [0x30], [UInt8](repeating: 0x30, count: 500)])
    func garbage(_ bytes: [UInt8]) {
        #expect(anchor.verify(leafDER: bytes, at: Self.now) == .failure(.unknownAuthority))
    }

    @Test("the authority's own certificate is no peer's")
    func authorityAsLeaf() {
        #expect(
            anchor.verify(leafDER: authority.certificateDER, at: Self.now) == .failure(.wrongCertificateRole))
    }

    @Test("a genuine signature under the wrong role is refused as that")
    func wrongRole() throws {
        let uri = GeneralName.uniformResourceIdentifier("urn:roost:node:\(Self.site):\(Self.node)")
        let other = SiteID(UUID())
        let cases: [Certificate.Extensions] = [
            // No name at all.
            try .init { try ExtendedKeyUsage([.serverAuth, .clientAuth]) },
            // Two names.
            try .init {
                try ExtendedKeyUsage([.serverAuth, .clientAuth])
                SubjectAlternativeNames([uri, .uniformResourceIdentifier("urn:roost:manager:\(Self.site)")])
            },
            // A node of another site.
            try .init {
                try ExtendedKeyUsage([.serverAuth, .clientAuth])
                SubjectAlternativeNames([.uniformResourceIdentifier("urn:roost:node:\(other):\(Self.node)")])
            },
            // A role that nobody knows, and names that do not parse.
            try .init {
                try ExtendedKeyUsage([.serverAuth, .clientAuth])
                SubjectAlternativeNames([.uniformResourceIdentifier("urn:roost:root:\(Self.site)")])
            },
            try .init {
                try ExtendedKeyUsage([.serverAuth, .clientAuth])
                SubjectAlternativeNames([.uniformResourceIdentifier("urn:roost:node:\(Self.site):x")])
            },
            // Good for a server alone.
            try .init {
                try ExtendedKeyUsage([.serverAuth])
                SubjectAlternativeNames([uri])
            },
            // A CA.
            try .init {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
                try ExtendedKeyUsage([.serverAuth, .clientAuth])
                SubjectAlternativeNames([uri])
            },
            // A critical extension that asks for what we do not know.
            try .init {
                Certificate.Extension(oid: [1, 2, 3, 4], critical: true, value: [5, 0])
                try ExtendedKeyUsage([.serverAuth, .clientAuth])
                SubjectAlternativeNames([uri])
            },
        ]
        for (index, extensions) in cases.enumerated() {
            #expect(
                anchor.verify(leafDER: try leaf(extensions), at: Self.now) == .failure(.wrongCertificateRole),
                "case \(index)")
        }
        let good = try Certificate.Extensions {
            try ExtendedKeyUsage([.serverAuth, .clientAuth])
            SubjectAlternativeNames([uri])
        }
        #expect(throws: Never.self) { try anchor.verify(leafDER: try leaf(good), at: Self.now).get() }
    }

    @Test("a node cannot sign for another: one level, by the authority alone")
    func signedByNode() throws {
        let key = P256.Signing.PrivateKey()
        let issuer = try Certificate(derEncoded: authority.certificateDER)
        let forged = try Certificate(
            version: .v3, serialNumber: .init(), publicKey: .init(key.publicKey),
            notValidBefore: Date(timeIntervalSince1970: 1_799_000_000),
            notValidAfter: Date(timeIntervalSince1970: 1_801_000_000), issuer: issuer.subject, subject: issuer.subject,
            extensions: try .init { try ExtendedKeyUsage([.serverAuth, .clientAuth]) }, issuerPrivateKey: .init(key))
        var serializer = DER.Serializer()
        try serializer.serialize(forged)
        #expect(anchor.verify(leafDER: serializer.serializedBytes, at: Self.now) == .failure(.unknownAuthority))
    }

    @Test("a request that its key did not sign, is too long or asks with another kind of key gets no certificate")
    func badRequests() throws {
        var changed = try NodeKey().certificateRequest(name: "cn1")
        changed[changed.count - 1] ^= 1
        let ed25519 = try CertificateSigningRequest(
            version: .v1, subject: try DistinguishedName { CommonName("x") },
            privateKey: .init(Curve25519.Signing.PrivateKey()), attributes: .init())
        var serializer = DER.Serializer()
        try serializer.serialize(ed25519)
        for request in [changed, serializer.serializedBytes, [], [UInt8](repeating: 0, count: 20_000)] {
            #expect(throws: TrustError.self) {
                try authority.signNode(requestDER: request, node: Self.node, at: Self.now)
            }
        }
    }

    @Test("the names that a request asks for are not granted")
    func requestedNames() throws {
        let key = P256.Signing.PrivateKey()
        let uri = "urn:roost:manager:\(Self.site)"
        let wanted = ExtensionRequest(
            extensions: try .init { SubjectAlternativeNames([.uniformResourceIdentifier(uri)]) })
        let request = try CertificateSigningRequest(
            version: .v1, subject: try DistinguishedName { CommonName("roost-manager") }, privateKey: .init(key),
            attributes: try .init([.init(wanted)]))
        var serializer = DER.Serializer()
        try serializer.serialize(request)
        let issued = try authority.signNode(requestDER: serializer.serializedBytes, node: Self.node, at: Self.now)
        #expect(try anchor.verify(leafDER: issued.der, at: Self.now).get().identity == .node(Self.node))
    }

    @Test("an authority survives its files; files that do not belong together are refused")
    func files() throws {
        let again = try SiteAuthority(keyPEM: authority.keyPEM, certificatePEM: authority.certificatePEM)
        #expect(again.site == Self.site && again.fingerprint == authority.fingerprint)
        let request = try NodeKey().certificateRequest(name: "cn1")
        let issued = try again.signNode(requestDER: request, node: Self.node, at: Self.now)
        #expect(throws: Never.self) { try anchor.verify(leafDER: issued.der, at: Self.now).get() }
        let other = try SiteAuthority.create(site: Self.site, at: Self.now)
        #expect(throws: TrustError.keyMismatch) {
            try SiteAuthority(keyPEM: other.keyPEM, certificatePEM: authority.certificatePEM)
        }
        #expect(throws: TrustError.notAnAuthority) { try TrustAnchor(authorityDER: issued.der) }
        #expect(throws: TrustError.self) { try SiteAuthority(keyPEM: "x", certificatePEM: "y") }
        let key = NodeKey()
        #expect(try NodeKey(pem: key.pem).pem == key.pem)
    }

    @Test("a leaf never outlives its authority, and an expired authority signs nothing")
    func authorityLifetime() throws {
        let short = try SiteAuthority.create(site: Self.site, at: Self.now, lifetime: .seconds(100))
        let request = try NodeKey().certificateRequest(name: "cn1")
        #expect(try short.signNode(requestDER: request, node: Self.node, at: Self.now).notAfter == short.notAfter)
        #expect(throws: TrustError.authorityExpired) {
            try short.signNode(requestDER: request, node: Self.node, at: Self.now + .seconds(200))
        }
    }

    @Test("fingerprints read as they are written")
    func fingerprints() throws {
        let text = authority.fingerprint.description
        #expect(text.hasPrefix("sha256:") && text.count == 71)
        #expect(CertificateFingerprint(text) == authority.fingerprint)
        #expect(CertificateFingerprint(text.uppercased()) == authority.fingerprint)
        #expect(CertificateFingerprint(String(text.dropFirst(7))) == nil)
        #expect(CertificateFingerprint(text + "0") == nil)
        let der = try CertificateEncoding.der(pem: authority.certificatePEM)
        #expect(der == authority.certificateDER)
    }
}
