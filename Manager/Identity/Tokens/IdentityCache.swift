import Crypto
import ManagerModel
import ManagerStore
import ProtocolModel
import Synchronization

/// What a check of a token needs to know of its user.
struct Standing: Sendable, Equatable {
    let id: UserID
    let name: String
    /// The name of the account.
    let account: String
    let rights: Rights
    let isSuperuser: Bool
    /// A superuser or a service, whose work a site depends on.
    let isPrivileged: Bool
    let isEnabled: Bool
    let tokensValidAfter: Timestamp

    init(_ user: User, in sql: Transaction) throws {
        id = user.id
        name = user.name
        account = user.account
        let rights = try sql.roles.rights(of: user.roles)
        // A password that somebody else has set is good for setting another, and nothing more.
        self.rights = user.mustChangePassword ? rights.limited(to: [.userRead, .userChange]) : rights
        isSuperuser = user.isSuperuser
        isPrivileged = user.roles.contains { role in
            switch Role(rawValue: role) {
            case .superuser, .controllerService, .accountantService: true
            // Nor do roles of the site's own count, however far they reach.
            case .user, .accountOwner, nil: false
            }
        }
        isEnabled = try user.enabled && (sql.accounts.find(name: user.account)?.enabled ?? true)
        tokensValidAfter = user.tokensValidAfter
    }
}

/// The site's keys, and what was revoked.
struct TokenFacts: Sendable {
    let ring: KeyRing
    let signers: [String: P256.Signing.PrivateKey]
    let revoked: Set<TokenID>

    /// The key that signs now.
    func signer(at now: Timestamp) throws(IdentityError) -> (id: String, key: P256.Signing.PrivateKey) {
        guard let key = ring.signer(at: now) else { throw .signingKey("-", "the record holds none") }
        guard let signer = signers[key.id] else {
            throw .signingKey(key.id, "it cannot be decrypted with this site's request-secret")
        }
        return (key.id, signer)
    }
}

/// What checks of tokens read of the record, kept in memory: most requests are checked without asking the database.
///
/// Everything is dropped as soon as anything of the kind changes, by a commit of this manager's or as the change feed tells of
/// another's. It is trusted only while the feed is being read; otherwise each check asks the record, and where that does not
/// answer nobody is let in. So what was revoked is refused by every manager within `patience` and a look at the feed.
public final class IdentityCache: Sendable {
    /// How old the last look at the feed may be.
    public static let patience = Duration.seconds(4)
    /// Of users and of API keys, each.
    private static let limit = 50_000

    private struct State {
        /// Grows with each change: what was read before one is not kept after it.
        var generation: UInt64 = 0
        var facts: TokenFacts?
        var users: [UserID: Standing?] = [:]
        var keys: [APIKeyID: APIKey?] = [:]
        /// When the keys were read anew because a token named one that is not known.
        var lookedForKey: Uptime?
    }

    private let store: Store
    private let seal: KeySeal
    private let time: any TimeSource
    /// Whether all that others changed has been heard of.
    private let isCurrent: @Sendable () -> Bool
    private let state = Mutex(State())

    init(store: Store, seal: KeySeal, time: any TimeSource, isCurrent: @escaping @Sendable () -> Bool) {
        self.store = store
        self.seal = seal
        self.time = time
        self.isCurrent = isCurrent
        store.observe { [weak self] changes in self?.note(changes) }
    }

    /// Called on the store's writing thread.
    private func note(_ changes: [Change]) {
        for change in changes {
            switch change {
            case .identity, .credentials, .everything: return drop()
            case .assignments, .operation, .events: continue
            }
        }
    }

    func drop() {
        state.withLock { state in
            state.generation += 1
            state.facts = nil
            state.users.removeAll(keepingCapacity: true)
            state.keys.removeAll(keepingCapacity: true)
        }
    }

    func facts() async throws -> TokenFacts {
        let isCurrent = isCurrent()
        let (known, generation) = state.withLock { ($0.facts, $0.generation) }
        if isCurrent, let known { return known }
        let now = time.timestamp
        let facts = try await store.read { [seal] sql in
            let keys = try sql.credentials.signingKeys()
            // One that cannot be opened still vouches for what it signed.
            let signers = keys.compactMap { key in (try? seal.open(key)).map { (key.id, $0) } }
            return TokenFacts(
                ring: try KeyRing(keys), signers: Dictionary(uniqueKeysWithValues: signers),
                revoked: Set(try sql.credentials.revocations(at: now).map(\.id)))
        }
        keep(isCurrent, generation) { $0.facts = facts }
        return facts
    }

    /// The facts read anew, at most once a second: for a token of a key that is not known here.
    func freshFacts() async throws -> TokenFacts? {
        let now = time.uptime
        let isDue = state.withLock { state in
            if let last = state.lookedForKey, now - last < .seconds(1) { return false }
            state.lookedForKey = now
            state.facts = nil
            return true
        }
        return isDue ? try await facts() : nil
    }

    func user(_ id: UserID) async throws -> Standing? {
        let isCurrent = isCurrent()
        let (known, generation) = state.withLock { ($0.users[id], $0.generation) }
        if isCurrent, let known { return known }
        let standing = try await store.read { sql in try sql.users.find(id).map { try Standing($0, in: sql) } }
        keep(isCurrent, generation) { state in
            if state.users.count >= Self.limit { state.users.removeAll() }
            state.users[id] = .some(standing)
        }
        return standing
    }

    func key(_ id: APIKeyID) async throws -> APIKey? {
        let isCurrent = isCurrent()
        let (known, generation) = state.withLock { ($0.keys[id], $0.generation) }
        if isCurrent, let known { return known }
        let key = try await store.read { sql in try sql.apiKeys.find(id) }
        keep(isCurrent, generation) { state in
            if state.keys.count >= Self.limit { state.keys.removeAll() }
            state.keys[id] = .some(key)
        }
        return key
    }

    private func keep(_ wasCurrent: Bool, _ generation: UInt64, _ body: (inout State) -> Void) {
        guard wasCurrent else { return }
        state.withLock { state in
            guard state.generation == generation else { return }
            body(&state)
        }
    }
}
