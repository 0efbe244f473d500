public import ManagerModel
public import ProtocolModel

/// Who sends a request, and by what.
public struct Principal: Sendable, Equatable {
    public let userID: UserID
    public let name: String
    /// The name of the user's account.
    public let account: String
    /// What the user may do by this token.
    public let rights: Rights
    /// What the token covers of what the user may.
    public let scope: TokenScope
    /// The OAuth client, or the ID of an API key.
    public let client: String
    /// The token's own ID.
    public let token: TokenID
    public let session: TokenID?
    public let key: APIKeyID?
    /// Who really sends it, where somebody acts as another (POR-24).
    public let impersonator: Actor.Impersonator?
    public let expiresAt: Timestamp
    /// Whether whoever really sends it is a superuser or a service, however little this token covers of what they may.
    public let isPrivileged: Bool
    /// By which it is known.
    let access: AccessToken

    init(_ standing: Standing, by token: AccessToken, scope: TokenScope, isPrivileged: Bool) {
        access = token
        self.isPrivileged = isPrivileged
        userID = standing.id
        name = standing.name
        account = standing.account
        rights = scope.permissions.map(standing.rights.limited) ?? standing.rights
        self.scope = scope
        client = token.claims.client
        self.token = token.id
        session = token.session
        key = token.key
        impersonator = token.impersonator.map { id in
            Actor.Impersonator(user: id, name: token.claims.act?.name ?? "")
        }
        expiresAt = token.expiresAt
    }

    /// Who really sends it, also where they act as another.
    public var sender: UserID { impersonator?.user ?? userID }

    /// Names what the request came with, for the event log. No secret.
    public var credential: String {
        if let key { return "key:\(key)" }
        if let session { return "session:\(session)" }
        return "token:\(token)"
    }

    /// Who acts by a request.
    public func actor(request: String?, from address: String?) -> Actor {
        Actor(
            user: userID, name: name, rights: rights, account: account, request: request, address: address,
            credential: credential, impersonator: impersonator)
    }

    /// Refuses what nobody may do in another's name: it would outlast the acting, or reach beyond it.
    public func checkIsOneself(_ what: String) throws(Refusal) {
        guard let impersonator else { return }
        throw Refusal(
            .forbidden,
            "'\(impersonator.name)' acts as '\(name)' just now, and nobody may \(what) in another's name; do it as yourself"
        )
    }
}
