public import ManagerModel
import ManagerStore
import ProtocolModel

/// Acting as another user (POR-24).
enum Masquerade {
    /// Whether somebody may act as another: one whom the permission reaches, and who may nothing that they may not themselves.
    /// Never a superuser, so that what superusers do is always told as theirs.
    static func isAllowed(to actor: Standing, as user: Standing) -> Bool {
        let reach = actor.rights[.userMasquerade]
        let isReached = reach == .all || reach == .account && actor.account == user.account
        return isReached && !user.isSuperuser && actor.id != user.id && actor.rights.covers(user.rights)
    }
}

extension TokenService {
    /// An access token for acting as another user. It says who really acts, cannot be renewed, and ends with either's right
    /// to sign in.
    ///
    /// - Throws: `Refusal`
    public func masquerade(as user: User, by principal: Principal, actor by: Actor) async throws -> IssuedTokens {
        try principal.checkIsOneself("act as somebody else")
        // The token must end with whatever it was made by, and of a key it would not know.
        guard principal.key == nil else {
            throw Refusal(.forbidden, "an API key acts for nobody but its owner; sign in to act as '\(user.name)'")
        }
        guard let target = try await cache.user(user.id), let actor = try await cache.user(principal.userID) else {
            throw Refusal.notFound("user", user.name)
        }
        guard Masquerade.isAllowed(to: actor, as: target), principal.scope.allows(.userMasquerade) else {
            throw Refusal(
                .forbidden,
                "you may not act as '\(user.name)': only as users who may no more than you, and never as a superuser")
        }
        guard target.isEnabled else {
            throw Refusal(.conflict, "'\(user.name)' is disabled; nobody acts as a user who may not sign in")
        }
        let now = time.timestamp
        _ = try await store.store.write { sql in
            try sql.events.append(
                "user.masqueraded", actor: by, owner: user.id, resource: user.reference,
                detail: "'\(by.name)' acts as '\(user.name)'", at: now)
        }
        // Of the superuser's session, so that signing out ends this, too.
        let (access, lifetime) = try await access(
            Subject(
                user: user.id, name: user.name, client: principal.client,
                scope: principal.scope, session: principal.session,
                impersonator: .init(sub: principal.userID.description, name: principal.name)), at: now)
        return IssuedTokens(access: access, refresh: nil, lifetime: lifetime, scope: principal.scope)
    }
}
