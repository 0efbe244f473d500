import Crypto
import ProtocolModel
import Synchronization

/// Tokens whose signature was found good lately. A program sends the same token with each request, and checking a signature
/// costs more than all else that the door does. Only the signature is remembered: times, user, key and revocation are looked
/// at anew.
final class GenuineTokens: Sendable {
    /// At most this many; a token is good for a quarter of an hour.
    private static let limit = 8192

    private let known = Mutex<[SHA256Digest: AccessToken]>([:])

    func token(_ text: String) -> AccessToken? {
        let digest = Self.digest(text)
        return known.withLock { $0[digest] }
    }

    func remember(_ text: String, _ token: AccessToken) {
        let digest = Self.digest(text)
        known.withLock { known in
            if known.count >= Self.limit { known.removeAll(keepingCapacity: true) }
            known[digest] = token
        }
    }

    private static func digest(_ text: String) -> SHA256Digest {
        var hash = SHA256()
        var text = text
        text.withUTF8 { hash.update(bufferPointer: UnsafeRawBufferPointer($0)) }
        return hash.finalize()
    }
}
