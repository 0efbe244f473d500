import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

/// Tokens: how they are got, ended and asked about (RFC 6749, RFC 7009, RFC 7662). Errors have the shape that those documents
/// prescribe.
enum TokenRoutes {
    private static let secret = Schema.string(TextRule(lengths: 0...512, isSecret: true))
    private static let token = Schema.string(TextRule(lengths: 0...8192, isSecret: true))
    /// How a client says who it is, where it does not in the header `Authorization`.
    private static let client: [ObjectSchema.Field] = [
        .init("client_id", .line(0...254), "roost if not given; the ID of an API key for client_credentials"),
        .init("client_secret", secret, "the secret of an API key"),
    ]

    static let request = ObjectSchema(
        "TokenRequest",
        [
            .init(
                "grant_type", .line(1...128), required: true,
                "password, refresh_token, client_credentials, authorization_code or "
                    + "urn:ietf:params:oauth:grant-type:device_code"),
            .init("username", .line(0...254)), .init("password", .password), .init("refresh_token", secret),
            .init("code", secret), .init("redirect_uri", .line(0...2048)), .init("code_verifier", secret),
            .init("device_code", secret),
            .init("scope", .line(0...TokenScope.maximumBytes), "words such as instances:read; everything if not given"),
            .init("resource", .line(0...512), "the API's address, if anything (RFC 8707)"),
        ] + client)
    static let revocation = ObjectSchema(
        "TokenRevocation",
        [.init("token", token, required: true), .init("token_type_hint", .line(0...64))] + client)
    static let question = ObjectSchema(
        "TokenQuestion",
        [.init("token", token, required: true), .init("token_type_hint", .line(0...64))] + client)
    static let issued = ObjectSchema(
        "Token",
        [
            .init("access_token", .text, required: true),
            .init("token_type", .choice(["Bearer"]), required: true),
            .init("expires_in", .count, required: true, "seconds"),
            .init("refresh_token", .text, "where there is a session that can be renewed"),
            .init("scope", .text, required: true),
        ])
    static let worth = ObjectSchema(
        "TokenWorth",
        [
            .init("active", .boolean, required: true), .init("scope", .text), .init("client_id", .text),
            .init("username", .text), .init("token_type", .text), .init("exp", .count), .init("iat", .count),
            .init("sub", .text), .init("aud", .text), .init("iss", .text), .init("jti", .text), .init("sid", .text),
            .init("act", .freeObject, "who really acts, where somebody acts as the user"),
        ])

    static let routes: [Route] = [
        Route(
            .post, "/oauth/token", "Get a token: by password, refresh token, API key, device or code", .tokenRequest,
            body: .form(request), replies: [(200, .one(issued))] + OAuthAnswer.refusals, isIdempotent: false,
            headers: [OAuthClientAuthentication.header], handler: token),
        Route(
            .post, "/oauth/revoke", "End a token: a refresh token with its session, an access token by itself",
            .tokenRequest, body: .form(revocation), replies: [(200, .empty)] + OAuthAnswer.refusals,
            isIdempotent: false,
            headers: [OAuthClientAuthentication.header]
        ) { call in
            try await OAuthAnswer.refusing { () async throws in
                let client = try await OAuthClientAuthentication(call).client(call)
                try await call.services.tokens.revoke(call.body["token"]?.string ?? "", client: client)
                return Answer(status: 200)
            }
        },
        Route(
            .post, "/oauth/introspect", "Ask what a token is worth", .tokenIntrospect, body: .form(question),
            replies: [(200, .one(worth)), (400, .one(OAuthAnswer.refusal))], isIdempotent: false,
            takesClientCredentials: true
        ) { call in
            let found = try await call.services.tokens.introspect(call.body["token"]?.string ?? "")
            guard let found else { return .document(["active": false]) }
            return .document(document(found, call.services.tokens.issuer))
        },
    ]

    @Sendable private static func token(_ call: Call) async throws -> Answer {
        try await OAuthAnswer.refusing { () async throws in
            let tokens = call.services.tokens
            if let resource = call.body["resource"]?.string, resource != tokens.issuer {
                throw GrantRefusal(.invalidTarget, "tokens are issued for \(tokens.issuer) alone")
            }
            let authentication = try OAuthClientAuthentication(call)
            let scope = try OAuthAnswer.scope(call.body["scope"]?.string)
            switch call.body["grant_type"]?.string {
            case "client_credentials":
                guard let id = authentication.id, let secret = authentication.secret else {
                    throw authentication.refusal("this needs the ID and the secret of an API key")
                }
                do {
                    return OAuthAnswer.tokens(
                        try await tokens.issue(key: id, secret: secret, scope: scope, address: call.address))
                } catch let refusal as GrantRefusal where refusal.code == .invalidClient {
                    throw authentication.refusal(refusal.sentence)
                }
            case "password":
                let client = try await authentication.publicClient(call)
                let (name, password) = (try field("username", call), try field("password", call))
                return OAuthAnswer.tokens(
                    try await tokens.signIn(
                        name: name, password: password, address: call.address, client: client.id,
                        scope: scope ?? .everything))
            case "refresh_token":
                let client = try await authentication.publicClient(call)
                let token = try field("refresh_token", call)
                return OAuthAnswer.tokens(try await tokens.refresh(token, client: client.id, narrowed: scope))
            case "authorization_code":
                let client = try await authentication.publicClient(call)
                return OAuthAnswer.tokens(
                    try await tokens.exchange(
                        code: try field("code", call), verifier: try field("code_verifier", call),
                        redirect: try field("redirect_uri", call), client: client.id, address: call.address))
            case "urn:ietf:params:oauth:grant-type:device_code":
                let client = try await authentication.publicClient(call)
                return OAuthAnswer.tokens(
                    try await tokens.exchange(
                        deviceCode: try field("device_code", call), client: client.id, address: call.address))
            default:
                throw GrantRefusal(
                    .unsupportedGrantType,
                    "the grant types are " + OAuthMetadataRoutes.grants.joined(separator: ", "))
            }
        }
    }

    private static func field(_ name: String, _ call: Call) throws(GrantRefusal) -> String {
        guard let value = call.body[name]?.string else {
            throw GrantRefusal(.invalidRequest, "this grant needs \(name)")
        }
        return value
    }

    private static func document(_ found: Introspection, _ issuer: String) -> JSONValue {
        var members: [JSONValue.Member] = [
            .init("active", true), .init("scope", .string(found.scope.text)), .init("client_id", .string(found.client)),
            .init("username", .string(found.userName)),
            .init("token_type", .string(found.isAccessToken ? "Bearer" : "refresh_token")),
            .init("exp", .integer(found.expiresAt.milliseconds / 1000)),
            .init("iat", .integer(found.issuedAt.milliseconds / 1000)), .init("sub", .text(found.user)),
            .init("aud", .string(issuer)), .init("iss", .string(issuer)),
        ]
        if let id = found.token { members.append(.init("jti", .text(id))) }
        if let session = found.session { members.append(.init("sid", .text(session))) }
        if let other = found.impersonator {
            members.append(.init("act", ["sub": .text(other.user), "name": .string(other.name)]))
        }
        return .object(members)
    }

    /// The body of a token request that could not be read, in the shape of RFC 6749.
    static func document(of problem: Problem) -> JSONValue {
        ["error": "invalid_request", "error_description": .string(problem.detail)]
    }
}
