import Crypto
import Foundation
import ManagerModel
import ProtocolModel

/// The keys that sign access tokens, in the order in which they do: which of them signs now, which still vouch for tokens,
/// and which are of no use any more. Pure.
struct KeyRing: Sendable {
    /// A new key is published for so long before it signs: longer than any manager, or whoever else checks tokens, goes on
    /// with what it has read before.
    static let lead = Duration.seconds(90)
    /// A key vouches for so long after another has begun to sign: as long as a token lives, and some more for clocks that
    /// differ and managers that have not noticed.
    static let afterlife = TokenService.accessLifetime + .seconds(120)

    private struct Entry: Sendable {
        let key: SigningKey
        let publicKey: P256.Signing.PublicKey
    }

    private let entries: [Entry]

    /// - Throws: `IdentityError.signingKey`
    init(_ keys: [SigningKey]) throws(IdentityError) {
        var entries: [Entry] = []
        for key in keys.sorted(by: { ($0.signsFrom, $0.id) < ($1.signsFrom, $1.id) }) {
            guard let publicKey = try? P256.Signing.PublicKey(x963Representation: key.publicKey) else {
                throw .signingKey(key.id, "the record holds no key on the curve P-256 there")
            }
            entries.append(Entry(key: key, publicKey: publicKey))
        }
        self.entries = entries
    }

    /// The newest key whose time has come; before the first one's time, which only a clock that went back makes happen, the
    /// first.
    func signer(at now: Timestamp) -> SigningKey? {
        (entries.last { $0.key.signsFrom <= now } ?? entries.first)?.key
    }

    /// The key of that name, where it still vouches for tokens.
    func verifier(_ id: String, at now: Timestamp) -> P256.Signing.PublicKey? {
        guard let index = entries.firstIndex(where: { $0.key.id == id }), !isPast(index, now) else { return nil }
        return entries[index].publicKey
    }

    /// What those who check tokens should know: keys that sign, will sign, or still vouch.
    func published(at now: Timestamp) -> [(id: String, key: P256.Signing.PublicKey)] {
        entries.indices.filter { !isPast($0, now) }.map { (entries[$0].key.id, entries[$0].publicKey) }
    }

    func past(at now: Timestamp) -> [String] {
        entries.indices.filter { isPast($0, now) }.map { entries[$0].key.id }
    }

    /// Whether the newest key has signed for so long that another should.
    func isRotationDue(after age: Duration, at now: Timestamp) -> Bool {
        entries.last.map { $0.key.signsFrom + age <= now } ?? true
    }

    private func isPast(_ index: Int, _ now: Timestamp) -> Bool {
        index + 1 < entries.count && entries[index + 1].key.signsFrom + Self.afterlife <= now
    }
}
