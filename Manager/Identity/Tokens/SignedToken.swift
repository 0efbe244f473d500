import Crypto
import Foundation

/// A JSON Web Token signed with ES256 and nothing else, in its compact form (RFC 7515 §7.1, RFC 7518 §3.4).
///
/// By hand, since only one algorithm, one type of token and our own keys may ever count: whatever a token says of how to
/// check it is compared, and never followed (RFC 8725 §3.1).
struct SignedToken {
    /// A token is sent with each request; a longer one is not ours.
    static let maximumBytes = 4096
    /// RFC 9068 §2.1
    static let type = "at+jwt"
    private static let algorithm = "ES256"

    private struct Header: Codable {
        var alg: String
        var kid: String
        var typ: String
        /// Extensions that must be understood (RFC 7515 §4.1.11); we understand none.
        var crit: [String]?
    }

    /// Which key is said to have signed it.
    let keyID: String
    let payload: [UInt8]
    private let signed: [UInt8]
    private let signature: P256.Signing.ECDSASignature

    /// Reads what could be a token of ours; nothing in it is to be believed before `isGenuine` says so.
    init?(_ text: String) {
        guard text.utf8.count <= Self.maximumBytes else { return nil }
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let head = Base64URL.decode(parts[0]), let payload = Base64URL.decode(parts[1]),
            let raw = Base64URL.decode(parts[2]), raw.count == 64,
            let header = try? JSONDecoder().decode(Header.self, from: Data(head)),
            header.alg == Self.algorithm, header.crit == nil,
            [Self.type, "application/" + Self.type].contains(header.typ.lowercased()),
            let signature = try? P256.Signing.ECDSASignature(rawRepresentation: raw)
        else { return nil }
        keyID = header.kid
        self.payload = payload
        self.signature = signature
        signed = Array((parts[0] + "." + parts[1]).utf8)
    }

    func isGenuine(by key: P256.Signing.PublicKey) -> Bool { key.isValidSignature(signature, for: signed) }

    static func sign(_ payload: some Encodable, keyID: String, key: P256.Signing.PrivateKey) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let header = try encoder.encode(Header(alg: algorithm, kid: keyID, typ: type))
        let text = Base64URL.encode(header) + "." + Base64URL.encode(try encoder.encode(payload))
        let signature = try key.signature(for: Array(text.utf8)).rawRepresentation
        return text + "." + Base64URL.encode(signature)
    }
}
