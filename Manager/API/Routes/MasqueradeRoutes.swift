import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore

/// Acting as another user (POR-24), always marked as such in the event log.
enum MasqueradeRoutes {
    static let routes: [Route] = [
        Route(
            .post, "/v1/users/{ref}/masquerade",
            "Get an access token for acting as a user who is no superuser; it cannot be renewed", .userMasquerade,
            replies: [(201, .one(TokenRoutes.issued))], answersSecret: true, isIdempotent: false
        ) { call in
            guard let principal = call.principal else { throw IdentityError.invalidToken(.malformed) }
            let actor = try call.actor
            let user = try await call.read { transaction in
                try call.commands(in: transaction).user(call.parameter("ref"))
            }
            var answer = OAuthAnswer.tokens(
                try await call.services.tokens.masquerade(as: user, by: principal, actor: actor))
            answer.status = 201
            return answer
        }
    ]
}
