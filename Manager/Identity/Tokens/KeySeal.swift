import Crypto
import Foundation
import ManagerModel
import ProtocolModel

/// Encrypts private keys for the record, with a key that is derived from the site's secret, a file that all managers have
/// and the record has not: whoever gets hold of a backup cannot sign tokens.
struct KeySeal: Sendable {
    private let key: SymmetricKey

    init(secret: [UInt8]) {
        key = HKDF<SHA256>.deriveKey(
            inputKeyMaterial: SymmetricKey(data: secret), info: Array("roost signing keys".utf8), outputByteCount: 32)
    }

    /// A key for the record.
    func seal(_ key: P256.Signing.PrivateKey, at now: Timestamp, signsFrom: Timestamp) throws -> SigningKey {
        let id = TokenKey.identifier(of: key.publicKey)
        // The name is bound to what it names.
        let box = try AES.GCM.seal(key.rawRepresentation, using: self.key, authenticating: Array(id.utf8))
        guard let sealed = box.combined else { preconditionFailure("the nonce has its usual length") }
        return SigningKey(
            id: id, publicKey: Array(key.publicKey.x963Representation), sealedKey: Array(sealed), createdAt: now,
            signsFrom: signsFrom)
    }

    /// - Throws: `IdentityError.signingKey`
    func open(_ key: SigningKey) throws(IdentityError) -> P256.Signing.PrivateKey {
        guard let box = try? AES.GCM.SealedBox(combined: key.sealedKey),
            let raw = try? AES.GCM.open(box, using: self.key, authenticating: Array(key.id.utf8)),
            let opened = try? P256.Signing.PrivateKey(rawRepresentation: raw),
            Array(opened.publicKey.x963Representation) == key.publicKey
        else {
            throw .signingKey(
                key.id,
                "it cannot be decrypted with this site's request-secret; the secret and the record must be of one site. "
                    + "To begin anew with another key: roost-manager token-key rotate --discard-old")
        }
        return opened
    }
}
