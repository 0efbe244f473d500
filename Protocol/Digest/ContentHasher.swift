import COpenSSL
public import ProtocolModel

/// SHA-256 (FIPS 180-4) of bytes that come one after another, by OpenSSL.
public struct ContentHasher: ~Copyable {
    private let context: OpaquePointer

    public init() {
        guard let context = EVP_MD_CTX_new(), EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1 else {
            preconditionFailure("OpenSSL has SHA-256 and memory for it")
        }
        self.context = context
    }

    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        precondition(EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) == 1, "taking in bytes cannot fail")
    }

    public mutating func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { update($0) } }

    /// The digest of all that was taken in.
    public consuming func finish() -> ContentDigest {
        var bytes = [UInt8](repeating: 0, count: ContentDigest.byteCount)
        guard EVP_DigestFinal_ex(context, &bytes, nil) == 1, let digest = ContentDigest(bytes: bytes) else {
            preconditionFailure("SHA-256 has 32 bytes")
        }
        return digest
    }

    deinit { EVP_MD_CTX_free(context) }
}

extension ContentDigest {
    /// SHA-256 of the bytes.
    public init(hashing bytes: [UInt8]) {
        var hasher = ContentHasher()
        hasher.update(bytes)
        self = hasher.finish()
    }
}
