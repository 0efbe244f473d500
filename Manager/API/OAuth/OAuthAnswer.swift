import ManagerIdentity

/// Answers of the OAuth endpoints.
enum OAuthAnswer {
    /// RFC 6749 §5.2
    static let refusal = ObjectSchema.answer("OAuthError", [("error", .text), ("error_description", .text)])
    /// What these endpoints answer where they refuse.
    static let refusals: [(status: Int, reply: Route.Reply)] = [
        (400, .one(refusal)), (401, .one(refusal)), (429, .one(refusal)),
        (503, .one(refusal)),
    ]

    /// RFC 6749 §5.1
    static func tokens(_ tokens: IssuedTokens) -> Answer {
        var members: [JSONValue.Member] = [
            .init("access_token", .string(tokens.access)), .init("token_type", "Bearer"),
            .init("expires_in", .integer(tokens.lifetime.components.seconds)),
        ]
        if let refresh = tokens.refresh { members.append(.init("refresh_token", .string(refresh))) }
        members.append(.init("scope", .string(tokens.scope.text)))
        return .document(.object(members), headers: [("Pragma", "no-cache")])
    }

    /// Runs a handler; what it refuses has the shape of RFC 6749 §5.2.
    static func refusing(_ body: () async throws -> Answer) async throws -> Answer {
        do {
            return try await body()
        } catch let refusal as GrantRefusal {
            return refuse(refusal.code.rawValue, refusal.sentence)
        } catch let refusal as UnknownClient {
            // RFC 6749 §5.2: 401, and the scheme where the client tried one.
            return refuse(
                GrantRefusal.Code.invalidClient.rawValue, refusal.sentence, status: 401,
                headers: [("WWW-Authenticate", #"Basic realm="roost""#)])
        } catch let error as IdentityError {
            switch error {
            case .wrongCredentials, .invalidRefreshToken:
                return refuse(GrantRefusal.Code.invalidGrant.rawValue, error.description)
            case .passwordNotTakenHere:
                return refuse(GrantRefusal.Code.unauthorizedClient.rawValue, error.description)
            case .tooManyAttempts(let seconds):
                return refuse(
                    "too_many_attempts", error.description, status: 429, headers: [("Retry-After", String(seconds))])
            case .notAdmitted, .refusedElsewhere:
                return refuse(GrantRefusal.Code.invalidGrant.rawValue, error.description)
            case .directoryUnavailable:
                return refuse(
                    "temporarily_unavailable", error.description, status: 503, headers: [("Retry-After", "5")])
            case .invalidToken, .busy, .passwordRefused, .malformedPasswordHash, .keyFile, .signingKey: throw error
            }
        }
    }

    /// A scope as it was asked for; `nil` where nothing was.
    static func scope(_ text: String?) throws(GrantRefusal) -> TokenScope? {
        guard let text, !text.isEmpty else { return nil }
        do throws(TokenScope.Fault) {
            return try TokenScope(text)
        } catch {
            throw GrantRefusal(.invalidScope, error.description)
        }
    }

    private static func refuse(
        _ error: String, _ sentence: String, status: Int = 400, headers: [(name: String, value: String)] = []
    ) -> Answer {
        .document(
            ["error": .string(error), "error_description": .string(Problem.sentence(sentence))], status: status,
            headers: headers + [("Pragma", "no-cache")])
    }

    /// A client that is not known, or did not prove who it is.
    struct UnknownClient: Error {
        let sentence: String
    }
}
