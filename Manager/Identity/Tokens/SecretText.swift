import Crypto
import ProtocolModel

/// 256 random bits as text that says what it is; only its hash is kept.
struct SecretText: Sendable {
    enum Kind: String {
        case refreshToken = "rrt_"
        case keySecret = "rks_"
        case authorizationCode = "rac_"
        case deviceCode = "rdc_"
    }

    private static let bytes = 32

    let text: String
    let hash: ContentDigest

    static func fresh(_ kind: Kind) -> SecretText {
        let bytes = SymmetricKey(size: .bits256).withUnsafeBytes { Array($0) }
        let text = kind.rawValue + bytes.hexadecimal
        return SecretText(text: text, hash: digest(of: text))
    }

    /// The hash of what could be such a secret; `nil` for all else.
    static func hash(_ text: String, _ kind: Kind) -> ContentDigest? {
        guard text.hasPrefix(kind.rawValue), text.utf8.count == kind.rawValue.utf8.count + 2 * bytes else { return nil }
        return digest(of: text)
    }

    private static func digest(of text: String) -> ContentDigest {
        guard let digest = ContentDigest(bytes: SHA256.hash(data: Array(text.utf8))) else {
            preconditionFailure("SHA-256 has 32 bytes")
        }
        return digest
    }
}
