import Crypto
import Foundation
public import ProtocolModel
import SwiftASN1
import X509

/// The SHA-256 of a certificate's DER form, which a person carries from the manager to a new host.
public struct CertificateFingerprint: Hashable, Sendable, CustomStringConvertible {
    public let digest: ContentDigest

    public init(der: [UInt8]) {
        guard let digest = ContentDigest(bytes: SHA256.hash(data: der)) else {
            preconditionFailure("SHA-256 did not give 32 bytes")
        }
        self.digest = digest
    }

    /// Reads `sha256:` and 64 hexadecimal digits.
    public init?(_ text: String) {
        guard text.lowercased().hasPrefix("sha256:"), let digest = ContentDigest(hex: text.dropFirst(7)) else {
            return nil
        }
        self.digest = digest
    }

    /// `sha256:` and 64 hexadecimal digits in lower case.
    public var description: String { "sha256:\(digest)" }
}

/// Certificates between their two spellings.
public enum CertificateEncoding {
    /// The DER form of a PEM certificate.
    public static func der(pem: String) throws(TrustError) -> [UInt8] {
        guard let document = try? PEMDocument(pemString: pem), document.discriminator == "CERTIFICATE" else {
            throw .unreadable(what: "the certificate")
        }
        return document.derBytes
    }

    /// The PEM form of a DER certificate.
    public static func pem(der: [UInt8]) -> String {
        PEMDocument(type: "CERTIFICATE", derBytes: der).pemString + "\n"
    }

    /// The time in which a certificate is valid.
    public static func validity(der: [UInt8]) throws(TrustError) -> ClosedRange<Timestamp> {
        guard let certificate = try? Certificate(derEncoded: der) else { throw .unreadable(what: "the certificate") }
        let (from, to) = (Timestamp(certificate.notValidBefore), Timestamp(certificate.notValidAfter))
        guard from <= to else { throw .unreadable(what: "the certificate") }
        return from...to
    }
}

extension Timestamp {
    init(_ date: Date) { self.init(milliseconds: Int64((date.timeIntervalSince1970 * 1000).rounded(.down))) }

    var date: Date { Date(timeIntervalSince1970: Double(milliseconds) / 1000) }
}

extension Certificate {
    func der() throws -> [UInt8] {
        var serializer = DER.Serializer()
        try serializer.serialize(self)
        return serializer.serializedBytes
    }

    /// The serial number as revocations name it.
    var serialHexadecimal: String { serialNumber.bytes.hexadecimal }
}
