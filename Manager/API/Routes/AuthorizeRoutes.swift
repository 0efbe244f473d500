import HTTPTypes
import ManagerIdentity
import ManagerModel

/// Signing in for a client in the browser: the authorization code grant with PKCE (RFC 6749 §4.1, RFC 7636, RFC 9207). The
/// password is typed in here, and no client sees it.
enum AuthorizeRoutes {
    private static let parameters: [(name: String, schema: Schema, summary: String)] = [
        ("response_type", .line(0...64), "code"), ("client_id", .line(0...254), "who asks"),
        ("redirect_uri", .line(0...2048), "where the code is to be sent; one of the client's"),
        ("code_challenge", .line(0...128), "base64url of the verifier's SHA-256"),
        ("code_challenge_method", .line(0...16), "S256"),
        ("scope", .line(0...TokenScope.maximumBytes), "everything if not given"),
        ("state", .line(0...1024), "handed back as it is"),
        ("resource", .line(0...512), "the API's address, if anything (RFC 8707)"),
    ]
    private static let form = ObjectSchema(
        "Authorization",
        parameters.map { ObjectSchema.Field($0.name, $0.schema, $0.summary) } + [
            .init("username", .line(0...254)), .init("password", .password),
            .init("action", .choice(["allow", "deny"])),
        ])

    static let routes: [Route] = [
        Route(
            .get, "/oauth/authorize", "The page where people sign in for a client", .tokenRequest,
            query: parameters.map { QueryParameter($0.name, $0.schema, $0.summary) },
            replies: PageAnswer.replies + [(303, .empty)], ignoresUnknownQuery: true
        ) { call in
            switch examine(call, { call.query.string($0) }) {
            case .failure(let wrong): wrong.answer
            case .success(let request): page(request, call).answer()
            }
        },
        Route(
            .post, "/oauth/authorize", "Sign in for a client; leads back to it with a code", .tokenRequest,
            body: .form(form), replies: PageAnswer.replies + [(303, .empty)], isIdempotent: false,
            handler: decide),
    ]

    /// What came, in order.
    private struct Request {
        let authorization: AuthorizationRequest
        let state: String?
        let issuer: String

        /// Back to the client (RFC 6749 §4.1.2, RFC 9207 §2).
        func redirect(_ members: [(String, String)]) -> Answer {
            AuthorizeRoutes.redirect(authorization.redirect, members, state, issuer)
        }
    }

    private struct Wrong: Error {
        let answer: Answer
    }

    /// Looks at what came. What is wrong is told to the client, but never sent to where it may not be: then the user is told.
    private static func examine(_ call: Call, _ value: (String) -> String?) -> Result<Request, Wrong> {
        let tokens = call.services.tokens
        guard let client = tokens.clients.find(value("client_id") ?? "") else {
            return .failure(dead("the program that sent you here is not known to this site; nothing was done"))
        }
        guard let redirect = value("redirect_uri"), client.allows(redirect: redirect) else {
            return .failure(
                dead("\(client.name) wants you to be sent to an address that is not its own; nothing was done"))
        }
        let state = value("state")
        func wrong(_ code: GrantRefusal.Code, _ sentence: String) -> Result<Request, Wrong> {
            let members = [("error", code.rawValue), ("error_description", sentence)]
            return .failure(Wrong(answer: Self.redirect(redirect, members, state, tokens.issuer)))
        }
        guard value("response_type") == "code" else {
            return wrong(.unsupportedResponseType, "the response type is code")
        }
        guard let challenge = value("code_challenge"), AuthorizationRequest.isChallenge(challenge),
            value("code_challenge_method") == "S256"
        else { return wrong(.invalidRequest, "PKCE is needed: code_challenge, and code_challenge_method S256") }
        guard value("resource") == nil || value("resource") == tokens.issuer else {
            return wrong(.invalidTarget, "tokens are issued for \(tokens.issuer) alone")
        }
        do {
            let scope = try OAuthAnswer.scope(value("scope")) ?? .everything
            return .success(
                Request(
                    authorization: .init(client: client, redirect: redirect, challenge: challenge, scope: scope),
                    state: state, issuer: tokens.issuer))
        } catch {
            return wrong(error.code, error.sentence)
        }
    }

    @Sendable private static func decide(_ call: Call) async throws -> Answer {
        try PageAnswer.checkSameSite(call)
        let request: Request
        switch examine(call, { call.body[$0]?.string }) {
        case .failure(let wrong): return wrong.answer
        case .success(let examined): request = examined
        }
        guard call.body["action"]?.string != "deny" else {
            return request.redirect([("error", "access_denied"), ("error_description", "the user did not sign in")])
        }
        let name = call.body["username"]?.string ?? ""
        return try await PageAnswer.refusing { problem, status, headers in
            page(request, call, name: name, problem: problem).answer(status: status, headers: headers)
        } body: {
            let user = try await call.services.tokens.authenticate(
                name: name, password: call.body["password"]?.string ?? "", address: call.address)
            let code = try await call.services.tokens.code(for: user, request.authorization)
            return request.redirect([("code", code)])
        }
    }

    private static func page(
        _ request: Request, _ call: Call, name: String = "", problem: String? = nil
    ) -> WebPage {
        let authorization = request.authorization
        var hidden = [
            ("response_type", "code"), ("client_id", authorization.client.id),
            ("redirect_uri", authorization.redirect), ("code_challenge", authorization.challenge),
            ("code_challenge_method", "S256"), ("scope", authorization.scope.text),
        ]
        if let state = request.state { hidden.append(("state", state)) }
        return WebPage(
            "Sign in", WebPage.problem(problem),
            "<p><strong>\(authorization.client.name)</strong> asks you to sign in.</p>",
            WebPage.covers(authorization.scope.text),
            """
            <form method="post" action="/oauth/authorize">
            \(WebPage.hidden(hidden.map { (name: $0.0, value: $0.1) }))
            \(WebPage.text("username", "User name", value: name, autocomplete: "username"))
            \(WebPage.password())
            <button class="main" name="action" value="allow">Sign in</button>
            <button name="action" value="deny" formnovalidate>Cancel</button>
            </form>
            """, formTargets: [origin(of: authorization.redirect)])
    }

    private static func dead(_ sentence: String) -> Wrong {
        Wrong(answer: WebPage("This cannot go on", WebPage.problem(sentence)).answer(status: 400))
    }

    /// 303, so that no browser sends the password on (RFC 9700 §4.12).
    private static func redirect(
        _ place: String, _ members: [(String, String)], _ state: String?, _ issuer: String
    ) -> Answer {
        var members = members
        if let state { members.append(("state", state)) }
        members.append(("iss", issuer))
        let query = members.map { FormText.encode($0.0) + "=" + FormText.encode($0.1) }.joined(separator: "&")
        return Answer(
            status: 303,
            headers: [
                ("Location", place + (place.contains("?") ? "&" : "?") + query), ("Referrer-Policy", "no-referrer"),
            ])
    }

    /// Scheme, host and port.
    private static func origin(of address: String) -> String {
        let parts = address.split(separator: "/", maxSplits: 3, omittingEmptySubsequences: false)
        let host = parts.count > 2 ? parts[2].prefix { $0 != "?" } : ""
        // A source of a content security policy has no form for an IPv6 address (CSP3 §2.3.1).
        return host.hasPrefix("[") ? String(parts[0]) : "\(parts[0])//\(host)"
    }
}
