import ManagerIdentity
import ManagerModel
import ProtocolModel
import Synchronization

/// Keeps users and refresh tokens in memory.
final class MemoryCredentials: CredentialStore {
    struct State {
        var users: [User] = []
        var tokens: [ContentDigest: RefreshToken] = [:]
    }
    let state = Mutex(State())

    func user(named name: String) async throws -> User? {
        state.withLock { $0.users.first { $0.name == name } }
    }

    func user(_ id: UserID) async throws -> User? {
        state.withLock { $0.users.first { $0.id == id } }
    }

    func rights(of user: User) async throws -> Rights? {
        user.roles.compactMap(Role.init(rawValue:)).reduce(Rights.none) { $0.union(.builtIn($1)) }
    }

    func insert(_ token: RefreshToken) async throws {
        state.withLock { $0.tokens[token.hash] = token }
    }

    func exchange(
        _ hash: ContentDigest, at now: Timestamp, decide: @escaping @Sendable (RefreshToken?, User?) -> RefreshDecision
    ) async throws -> RefreshDecision {
        state.withLock { state in
            let token = state.tokens[hash]
            let decision = decide(token, state.users.first { $0.id == token?.user })
            switch decision {
            case .rotate(let old, let new, _):
                state.tokens[old]?.replacedAt = now
                state.tokens[new.hash] = new
            case .revoke(let family):
                state.tokens = state.tokens.filter { $0.value.family != family }
            case .refuse: break
            }
            return decision
        }
    }

    func revokeFamily(of hash: ContentDigest) async throws {
        state.withLock { state in
            guard let family = state.tokens[hash]?.family else { return }
            state.tokens = state.tokens.filter { $0.value.family != family }
        }
    }

    func change(_ name: String, _ body: (inout User) -> Void) {
        state.withLock { state in
            for index in state.users.indices where state.users[index].name == name { body(&state.users[index]) }
        }
    }
}

/// A clock that a test moves.
final class ManualTime: TimeSource {
    private let milliseconds = Mutex<Int64>(1_800_000_000_000)

    var timestamp: Timestamp { Timestamp(milliseconds: milliseconds.withLock { $0 }) }
    var uptime: Uptime { Uptime(sinceStart: .milliseconds(milliseconds.withLock { $0 })) }

    func advance(by duration: Duration) {
        milliseconds.withLock { $0 += duration.milliseconds }
    }
}
