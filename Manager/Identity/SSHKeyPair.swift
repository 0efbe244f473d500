import Crypto
import Foundation

/// A new Ed25519 key pair as OpenSSH writes it (PROTOCOL.key). Nothing of it is kept here.
public struct SSHKeyPair: Sendable {
    /// One line, for `authorized_keys`.
    public let publicKey: String
    /// The file, without a passphrase.
    public let privateKey: String

    private static let type = "ssh-ed25519"

    public init(comment: String) {
        let key = Curve25519.Signing.PrivateKey()
        var random = SystemRandomNumberGenerator()
        self.init(seed: Array(key.rawRepresentation), key: key, comment: comment, check: random.next())
    }

    init(seed: [UInt8], key: Curve25519.Signing.PrivateKey, comment: String, check: UInt32) {
        let open = Array(key.publicKey.rawRepresentation)
        var blob = Writer()
        blob.string(Self.type.utf8)
        blob.string(open)
        publicKey = "\(Self.type) \(Data(blob.bytes).base64EncodedString()) \(comment)"

        var secret = Writer()
        // Twice the same number: whoever decrypts wrongly sees that they differ.
        secret.number(check)
        secret.number(check)
        secret.string(Self.type.utf8)
        secret.string(open)
        secret.string(seed + open)
        secret.string(comment.utf8)
        var padding: UInt8 = 1
        while secret.bytes.count % 8 != 0 {
            secret.bytes.append(padding)
            padding += 1
        }

        var file = Writer(bytes: Array("openssh-key-v1\0".utf8))
        file.string("none".utf8)
        file.string("none".utf8)
        file.string([])
        file.number(1)
        file.string(blob.bytes)
        file.string(secret.bytes)
        privateKey = Self.armoured(file.bytes)
    }

    private static func armoured(_ bytes: [UInt8]) -> String {
        var rest = Data(bytes).base64EncodedString()[...]
        var lines: [Substring] = []
        while !rest.isEmpty {
            lines.append(rest.prefix(70))
            rest = rest.dropFirst(70)
        }
        return "-----BEGIN OPENSSH PRIVATE KEY-----\n" + lines.joined(separator: "\n")
            + "\n-----END OPENSSH PRIVATE KEY-----\n"
    }

    /// Fields as RFC 4251 §5 writes them.
    private struct Writer {
        var bytes: [UInt8] = []

        mutating func number(_ value: UInt32) { withUnsafeBytes(of: value.bigEndian) { bytes += $0 } }

        mutating func string(_ content: some Collection<UInt8>) {
            number(UInt32(content.count))
            bytes += content
        }
    }
}
