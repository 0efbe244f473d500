import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

/// Signing in (RFC 6749, RFC 7009). Errors here have the shape that those documents prescribe.
enum TokenRoutes {
    static let request = ObjectSchema(
        "TokenRequest",
        [
            .init("grant_type", .line(1...64), required: true, "password or refresh_token"),
            .init("username", .line(0...254)), .init("password", .password),
            .init("refresh_token", .string(TextRule(lengths: 0...512, isSecret: true))), .init("scope", .line(0...512)),
            .init("client_id", .line(0...254)),
        ])
    static let revocation = ObjectSchema(
        "TokenRevocation",
        [
            .init("token", .string(TextRule(lengths: 0...4096, isSecret: true)), required: true),
            .init("token_type_hint", .line(0...64)), .init("client_id", .line(0...254)),
        ])
    static let issued = ObjectSchema.answer(
        "Token",
        [
            ("access_token", .text), ("token_type", .choice(["Bearer"])), ("expires_in", .count),
            ("refresh_token", .text),
            ("scope", .text),
        ])

    static let routes: [Route] = [
        Route(
            .post, "/oauth/token", "Sign in, or renew a token", .tokenRequest, body: .form(request),
            replies: [(200, .one(issued))], isIdempotent: false, handler: token),
        Route(
            .post, "/oauth/revoke", "Sign out: end the session of a refresh token", .tokenRequest,
            body: .form(revocation),
            replies: [(200, .empty)], isIdempotent: false
        ) { call in
            try await call.services.tokens.revoke(call.body["token"]?.string ?? "")
            return Answer(status: 200)
        },
    ]

    @Sendable private static func token(_ call: Call) async throws -> Answer {
        do {
            switch call.body["grant_type"]?.string {
            case "password":
                guard let name = call.body["username"]?.string, let password = call.body["password"]?.string else {
                    return refuse("invalid_request", "The password grant needs username and password.")
                }
                return answer(
                    try await call.services.tokens.signIn(name: name, password: password, address: call.address))
            case "refresh_token":
                guard let token = call.body["refresh_token"]?.string else {
                    return refuse("invalid_request", "The refresh_token grant needs refresh_token.")
                }
                return answer(try await call.services.tokens.refresh(token))
            default:
                return refuse("unsupported_grant_type", "The grant types are password and refresh_token.")
            }
        } catch IdentityError.wrongCredentials {
            return refuse("invalid_grant", Problem.sentence(IdentityError.wrongCredentials.description))
        } catch IdentityError.invalidRefreshToken {
            return refuse("invalid_grant", Problem.sentence(IdentityError.invalidRefreshToken.description))
        } catch let error as IdentityError {
            guard case .tooManyAttempts(let seconds) = error else { throw error }
            return refuse(
                "too_many_attempts", Problem.sentence(error.description), status: 429,
                headers: [("Retry-After", String(seconds))])
        }
    }

    private static func answer(_ tokens: IssuedTokens) -> Answer {
        .document(
            [
                "access_token": .string(tokens.access), "token_type": "Bearer",
                "expires_in": .integer(tokens.lifetime.components.seconds), "refresh_token": .string(tokens.refresh),
                "scope": "",
            ], headers: [("Pragma", "no-cache")])
    }

    /// RFC 6749 §5.2
    private static func refuse(
        _ error: String, _ detail: String, status: Int = 400, headers: [(name: String, value: String)] = []
    ) -> Answer {
        .document(["error": .string(error), "error_description": .string(detail)], status: status, headers: headers)
    }

    /// The body of a token request that could not be read, in the shape of RFC 6749.
    static func document(of problem: Problem) -> JSONValue {
        ["error": "invalid_request", "error_description": .string(problem.detail)]
    }
}
