import Crypto
import ProtocolModel

/// What a mailed link holds: 256 random bits, of which only a hash is kept.
struct LinkSecret: Sendable {
    private static let prefix = "rml_"
    private static let bytes = 32

    let text: String

    static func fresh() -> LinkSecret {
        LinkSecret(text: prefix + SymmetricKey(size: .bits256).withUnsafeBytes { Array($0) }.hexadecimal)
    }

    private init(text: String) { self.text = text }

    /// Reads what a request holds; `nil` where it cannot be one.
    init?(_ text: String) {
        guard text.hasPrefix(Self.prefix), text.utf8.count == Self.prefix.utf8.count + 2 * Self.bytes else {
            return nil
        }
        self.text = text
    }

    var hash: ContentDigest {
        guard let digest = ContentDigest(bytes: SHA256.hash(data: Array(text.utf8))) else {
            preconditionFailure("SHA-256 has 32 bytes")
        }
        return digest
    }
}
