public import ManagerModel
import ManagerStore
import ProtocolModel

/// What a program without a browser tells its user (RFC 8628 §3.2).
public struct DeviceCodes: Sendable {
    public let deviceCode: String
    /// With a dash in the middle.
    public let userCode: String
    public let lifetime: Duration
    public let intervalSeconds: Int
}

/// What follows when a program asks whether it has been let in (RFC 8628 §3.5). Pure.
enum DeviceDecision: Equatable {
    case refuse(GrantRefusal.Code)
    /// Keep it as it is now, and refuse.
    case wait(DeviceGrant, GrantRefusal.Code)
    /// Forget it, and refuse.
    case end(GrantRefusal.Code)
    case open(user: UserID)

    static func decide(_ grant: DeviceGrant?, client: String, at now: Timestamp) -> DeviceDecision {
        guard var grant, grant.client == client else { return .refuse(.invalidGrant) }
        guard now < grant.expiresAt else { return .end(.expiredToken) }
        let isEarly = grant.polledAt.map { now - $0 < .seconds(grant.intervalSeconds) } ?? false
        grant.polledAt = now
        switch grant.status {
        case .denied: return .end(.accessDenied)
        case .granted:
            guard let user = grant.user else { return .end(.accessDenied) }
            return .open(user: user)
        case .pending:
            guard isEarly else { return .wait(grant, .authorizationPending) }
            grant.intervalSeconds = min(60, grant.intervalSeconds + 5)
            return .wait(grant, .slowDown)
        }
    }
}

/// What a user types in: letters that are not taken for others, and spell nothing.
enum UserCode {
    private static let letters = Array("BCDFGHJKLMNPQRSTVWXZ")
    private static let length = 8

    static func fresh() -> String {
        var random = SystemRandomNumberGenerator()
        return String((0..<length).map { _ in letters[Int.random(in: letters.indices, using: &random)] })
    }

    static func shown(_ code: String) -> String { code.prefix(4) + "-" + code.dropFirst(4) }

    /// As it is kept, however it was typed; `nil` for what is none.
    static func read(_ text: String) -> String? {
        let code = text.prefix(40).uppercased().filter { $0.isLetter || $0.isNumber }
        return code.count == length && code.allSatisfy(letters.contains) ? code : nil
    }
}

extension TokenService {
    static let deviceLifetime = Duration.seconds(600)
    private static let maximumWaiting = 10_000

    /// Begins to let a program in that has no browser.
    public func authorizeDevice(client: OAuthClient, scope: TokenScope, address: String) async throws -> DeviceCodes {
        if let wait = devices.wait("new", address, time.uptime) { throw Self.tooMany(wait) }
        let now = time.timestamp
        let secret = SecretText.fresh(.deviceCode)
        // Of 2.5e10 codes, so that two are hardly ever the same; the record refuses the second.
        let userCode = UserCode.fresh()
        let grant = DeviceGrant(
            hash: secret.hash, userCode: userCode, client: client.id, scope: scope.text, createdAt: now,
            expiresAt: now + Self.deviceLifetime, intervalSeconds: 5)
        try await store.store.write { sql in
            guard try sql.credentials.countDeviceGrants(at: now) < Self.maximumWaiting else {
                throw GrantRefusal(
                    .temporarilyUnavailable, "too many devices wait to be let in; try again in some minutes")
            }
            try sql.credentials.insert(grant)
        }
        return DeviceCodes(
            deviceCode: secret.text, userCode: UserCode.shown(userCode), lifetime: Self.deviceLifetime,
            intervalSeconds: 5)
    }

    /// What waits under a code that somebody has typed in; `nil`: nothing does.
    ///
    /// - Throws: `IdentityError.tooManyAttempts`: codes are short, and are not to be guessed.
    public func waitingDevice(_ typed: String, address: String) async throws -> DeviceGrant? {
        if let wait = devices.wait("code", address, time.uptime) { throw Self.tooMany(wait) }
        let now = time.timestamp
        guard let code = UserCode.read(typed),
            let grant = try await store.store.read({ sql in try sql.credentials.deviceGrant(userCode: code) }),
            grant.status == .pending, now < grant.expiresAt
        else { return nil }
        devices.giveBack("code", address, time.uptime)
        return grant
    }

    /// Lets a device in, or not.
    ///
    /// - Parameter user: who lets it in; `nil`: it is not let in.
    /// - Returns: whether it still waited.
    public func decide(_ grant: DeviceGrant, user: User?) async throws -> Bool {
        let now = time.timestamp
        return try await store.store.write { sql in
            guard var kept = try sql.credentials.deviceGrant(hash: grant.hash), kept.status == .pending,
                now < kept.expiresAt
            else { return false }
            if let user { try StoreCredentials.checkProof(of: user, in: sql) }
            kept.status = user == nil ? .denied : .granted
            kept.user = user?.id
            try sql.credentials.update(kept)
            return true
        }
    }

    /// Tokens for a device that has been let in.
    ///
    /// - Throws: `GrantRefusal`
    public func exchange(deviceCode: String, client: String, address: String) async throws -> IssuedTokens {
        guard let hash = SecretText.hash(deviceCode, .deviceCode) else { throw Self.refusal(.invalidGrant) }
        let now = time.timestamp
        let refresh = SecretText.fresh(.refreshToken)
        let result = try await store.store.write { sql -> Result<(User, RefreshToken), GrantRefusal> in
            let grant = try sql.credentials.deviceGrant(hash: hash)
            switch DeviceDecision.decide(grant, client: client, at: now) {
            case .refuse(let code): return .failure(Self.refusal(code))
            case .wait(let grant, let code):
                try sql.credentials.update(grant)
                return .failure(Self.refusal(code))
            case .end(let code):
                try sql.credentials.remove(deviceGrant: hash)
                return .failure(Self.refusal(code))
            case .open(let id):
                try sql.credentials.remove(deviceGrant: hash)
                guard let grant, let user = try sql.users.find(id), user.enabled else {
                    return .failure(Self.refusal(.accessDenied))
                }
                let token = RefreshToken(
                    hash: refresh.hash, family: .generate(at: now), user: user.id, client: client, scope: grant.scope,
                    address: address, createdAt: now, expiresAt: now + Self.refreshLifetime)
                try StoreCredentials.open(token, of: user, .device, in: sql)
                return .success((user, token))
            }
        }
        let (user, token) = try result.get()
        return try await issued(token, refresh, to: user, at: now)
    }

    private static func refusal(_ code: GrantRefusal.Code) -> GrantRefusal {
        let sentence =
            switch code {
            case .authorizationPending: "nobody has let this device in yet; ask again"
            case .slowDown: "asked too soon; wait five seconds longer between two questions"
            case .accessDenied: "the user did not let this device in"
            case .expiredToken: "nobody let this device in within ten minutes; begin anew"
            default: "there is no such device code of this client; begin anew"
            }
        return GrantRefusal(code, sentence)
    }
}
