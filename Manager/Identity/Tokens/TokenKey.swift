import Crypto
import Foundation

/// A site's first key for access tokens: ECDSA on P-256, in a file of its own that nobody else may read. The record takes it
/// over, sealed, and holds all that follow it.
public struct TokenKey: Sendable {
    public static let fileName = "token-key.pem"

    let privateKey: P256.Signing.PrivateKey

    /// Names the key in a token's header, so that keys can be told apart.
    var identifier: String { Self.identifier(of: privateKey.publicKey) }

    static func identifier(of key: P256.Signing.PublicKey) -> String {
        Base64URL.encode(SHA256.hash(data: key.x963Representation).prefix(9))
    }

    init(privateKey: P256.Signing.PrivateKey) {
        self.privateKey = privateKey
    }

    /// Makes a new key and its file, mode 0600. An existing file is never replaced.
    ///
    /// - Throws: `IdentityError.keyFile`
    public static func create(inFolder folder: String) throws -> TokenKey {
        let path = folder + "/" + fileName
        let key = P256.Signing.PrivateKey()
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            let reason = errno == EEXIST ? "it exists already" : String(cString: strerror(errno))
            throw IdentityError.keyFile(path: path, reason: reason)
        }
        let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        do {
            try handle.write(contentsOf: Data((key.pemRepresentation + "\n").utf8))
            try handle.synchronize()
        } catch {
            unlink(path)
            throw IdentityError.keyFile(path: path, reason: "it cannot be written: \(error.localizedDescription)")
        }
        return TokenKey(privateKey: key)
    }

    /// Reads the key; a file that others can read is refused, since whoever read it could sign tokens.
    ///
    /// - Throws: `IdentityError.keyFile`
    public static func load(fromFolder folder: String) throws -> TokenKey {
        let path = folder + "/" + fileName
        var status = stat()
        guard stat(path, &status) == 0 else {
            throw IdentityError.keyFile(
                path: path,
                reason: errno == ENOENT
                    ? "there is no such file; run 'roost-manager init'" : String(cString: strerror(errno)))
        }
        guard status.st_mode & 0o077 == 0 else {
            throw IdentityError.keyFile(path: path, reason: "others can read it; run 'chmod 600 \(path)'")
        }
        guard status.st_size < 16_384, let data = FileManager.default.contents(atPath: path),
            let key = try? P256.Signing.PrivateKey(pemRepresentation: String(decoding: data, as: UTF8.self))
        else {
            throw IdentityError.keyFile(path: path, reason: "it does not hold a private key on the curve P-256 in PEM")
        }
        return TokenKey(privateKey: key)
    }
}
