import Crypto
import X509
import SwiftASN1

/// A private key (P-256) of a node or a manager.
public struct NodeKey: Sendable {
    private let key: P256.Signing.PrivateKey

    /// A new key from the system's random source.
    public init() { key = P256.Signing.PrivateKey() }

    /// Throws `unreadable`.
    public init(pem: String) throws(TrustError) {
        guard let key = try? P256.Signing.PrivateKey(pemRepresentation: pem) else {
            throw .unreadable(what: "the private key")
        }
        self.key = key
    }

    /// Secret: belongs in a file of mode 0600 and nowhere else.
    public var pem: String { key.pemRepresentation + "\n" }

    var publicKey: Certificate.PublicKey { Certificate.PublicKey(key.publicKey) }

    /// A PKCS #10 request for this key. It proves that the asker holds the key; the name in it is for people, and the
    /// authority ignores it.
    public func certificateRequest(name: String) throws(TrustError) -> [UInt8] {
        do {
            let request = try CertificateSigningRequest(
                version: .v1, subject: try DistinguishedName { CommonName(name) },
                privateKey: Certificate.PrivateKey(key), attributes: .init())
            var serializer = DER.Serializer()
            try serializer.serialize(request)
            return serializer.serializedBytes
        } catch {
            throw .failed("\(error)")
        }
    }

    /// Whether a certificate is for this key.
    public func matches(certificateDER: [UInt8]) -> Bool {
        guard let certificate = try? Certificate(derEncoded: certificateDER) else { return false }
        return certificate.publicKey == publicKey
    }
}
