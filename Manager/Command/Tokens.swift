import Synchronization

/// The access token in use, and how a new one is had.
final class Tokens: Sendable {
    private let credentials: Site.Credentials
    private let profileName: String
    private let file: ProfileFile
    private let access: Mutex<String?>

    init(_ site: Site, file: ProfileFile) {
        credentials = site.credentials
        profileName = site.profileName
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

    /// Renews the kept tokens once, and says whether there is a new access token. `exchange` trades a refresh token for
    /// the token endpoint's answer.
    ///
    /// The whole exchange holds the file's lock: refresh tokens rotate, and the manager ends a session whose old token
    /// comes again, so of two commands that find the token expired only the first may trade it.
    func renew(_ exchange: (String) async throws -> JSON) async throws -> Bool {
        guard case .kept = credentials else { return false }
        let stale = current
        return try await file.locked { file in
            var profiles = try file.read()
            guard var profile = profiles[profileName] else { return false }
            if let token = profile.accessToken, token != stale {
                access.withLock { $0 = token }
                return true
            }
            guard let refresh = profile.refreshToken else { return false }
            let answer: JSON
            do {
                answer = try await exchange(refresh)
            } catch let failure as Failure {
                if case .refused = failure.kind { return false }
                throw failure
            }
            guard let token = answer["access_token"].text else { return false }
            profile.accessToken = token
            profile.refreshToken = answer["refresh_token"].text ?? refresh
            profiles[profileName] = profile
            try file.write(profiles)
            access.withLock { $0 = token }
            return true
        }
    }
}
