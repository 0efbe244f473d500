import RoostClient
import Synchronization

/// The access token in use, and how a new one is had.
final class Tokens: TokenSource {
    private let credentials: Site.Credentials
    private let profileName: String
    private let endpoint: String
    private let file: ProfileFile
    private let access: Mutex<String?>

    init(_ site: Site, file: ProfileFile) {
        credentials = site.credentials
        profileName = site.profileName
        endpoint = site.endpoint
        self.file = file
        let token: String? =
            switch site.credentials {
            case .none: nil
            case .fixed(let token): token
            case .kept(let token): token
            }
        access = Mutex(token)
    }

    var current: String? { access.withLock { $0 } }

    func token(_ exchange: TokenExchange) async throws -> String? { current }

    /// Renews the kept tokens once.
    ///
    /// The whole exchange holds the file's lock: refresh tokens rotate, and the manager ends a session whose old token
    /// comes again, so of two commands that find the token expired only the first may trade it.
    func renewed(after refused: String?, _ exchange: TokenExchange) async throws -> String? {
        guard case .kept = credentials else { return nil }
        return try await file.locked { file in
            // Another command may have signed the profile in elsewhere meanwhile: what is kept of one site is sent to no other.
            guard let profile = try file.read()[profileName], profile.endpoint == endpoint else { return nil }
            if let token = profile.accessToken, token != refused {
                access.withLock { $0 = token }
                return token
            }
            // Ctrl-C does not end it half-way: the refresh token is worth nothing once it was sent, and what came for it must be
            // kept, or the session is over.
            let trade = Task { try await self.trade(profile, in: file, exchange) }
            guard let token = try await trade.value else { return nil }
            access.withLock { $0 = token }
            return token
        }
    }

    /// Trades what is kept for new tokens, and keeps those. The caller holds the file's lock.
    private func trade(_ profile: Profile, in file: ProfileFile, _ exchange: TokenExchange) async throws -> String? {
        guard let fresh = try await Self.fresh(profile, exchange) else { return nil }
        var (profiles, renewed) = (try file.read(), profile)
        renewed.accessToken = fresh.accessToken
        renewed.refreshToken = fresh.refreshToken ?? profile.refreshToken
        profiles[profileName] = renewed
        try file.write(profiles)
        return fresh.accessToken
    }

    /// New tokens for what is kept; `nil` where that is worth nothing any more.
    private static func fresh(_ profile: Profile, _ exchange: TokenExchange) async throws -> OAuthTokens? {
        do {
            if let key = profile.apiKey { return try await exchange.clientCredentials(id: key.id, secret: key.secret) }
            guard let refresh = profile.refreshToken else { return nil }
            return try await exchange.refresh(refresh)
        } catch let error as ClientError where error.endsSession {
            return nil
        }
    }
}
