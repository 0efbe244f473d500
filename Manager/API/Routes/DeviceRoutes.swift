import HTTPTypes
import ManagerIdentity
import ManagerModel

/// Signing in on a machine without a browser (RFC 8628): it shows a code, which its user types in here, in a browser elsewhere.
enum DeviceRoutes {
    private static let request = ObjectSchema(
        "DeviceAuthorizationRequest",
        [
            .init("client_id", .line(0...254), "roost if not given"),
            .init("client_secret", .string(TextRule(lengths: 0...512, isSecret: true))),
            .init("scope", .line(0...TokenScope.maximumBytes), "everything if not given"),
        ])
    private static let codes = ObjectSchema.answer(
        "DeviceAuthorization",
        [
            ("device_code", .text), ("user_code", .text), ("verification_uri", .text),
            ("verification_uri_complete", .text), ("expires_in", .count), ("interval", .count),
        ])
    private static let decision = ObjectSchema(
        "DeviceDecision",
        [
            .init("user_code", .line(0...64), required: true), .init("username", .line(0...254)),
            .init("password", .password), .init("action", .choice(["allow", "deny"]), required: true),
        ])

    static let routes: [Route] = [
        Route(
            .post, "/oauth/device_authorization", "Begin to sign in on a machine without a browser (RFC 8628)",
            .tokenRequest, body: .form(request), replies: [(200, .one(codes))] + OAuthAnswer.refusals,
            isIdempotent: false, handler: begin),
        Route(
            .get, "/oauth/device", "The page where a user types in a device's code", .tokenRequest,
            query: [QueryParameter("user_code", .line(0...64), "The code, where it is known.")],
            replies: PageAnswer.replies
        ) { call in
            guard let typed = call.query.string("user_code"), !typed.isEmpty else { return ask().answer() }
            return try await PageAnswer.refusing { problem, status, headers in
                ask(problem: problem).answer(status: status, headers: headers)
            } body: {
                guard let grant = try await call.services.tokens.waitingDevice(typed, address: call.address) else {
                    return ask(problem: unknown).answer(status: 404)
                }
                return confirm(grant, call).answer()
            }
        },
        Route(
            .post, "/oauth/device", "Let a device in, or not", .tokenRequest, body: .form(decision),
            replies: PageAnswer.replies, isIdempotent: false, handler: decide),
    ]

    private static let unknown =
        "no device waits with this code; it is good for ten minutes, and begins anew with another"

    @Sendable private static func begin(_ call: Call) async throws -> Answer {
        try await OAuthAnswer.refusing { () async throws in
            let tokens = call.services.tokens
            let client = try await OAuthClientAuthentication(call).publicClient(call)
            let scope = try OAuthAnswer.scope(call.body["scope"]?.string) ?? .everything
            let codes = try await tokens.authorizeDevice(client: client, scope: scope, address: call.address)
            let place = tokens.issuer + "/oauth/device"
            return .document([
                "device_code": .string(codes.deviceCode), "user_code": .string(codes.userCode),
                "verification_uri": .string(place),
                "verification_uri_complete": .string(place + "?user_code=" + codes.userCode),
                "expires_in": .integer(codes.lifetime.components.seconds), "interval": .count(codes.intervalSeconds),
            ])
        }
    }

    @Sendable private static func decide(_ call: Call) async throws -> Answer {
        try PageAnswer.checkSameSite(call)
        let tokens = call.services.tokens
        let name = call.body["username"]?.string ?? ""
        return try await PageAnswer.refusing { problem, status, headers in
            ask(problem: problem).answer(status: status, headers: headers)
        } body: {
            let typed = call.body["user_code"]?.string ?? ""
            guard let grant = try await tokens.waitingDevice(typed, address: call.address) else {
                return ask(problem: unknown).answer(status: 404)
            }
            var user: User?
            if call.body["action"]?.string == "allow" {
                do {
                    user = try await tokens.authenticate(
                        name: name, password: call.body["password"]?.string ?? "", address: call.address)
                } catch IdentityError.wrongCredentials {
                    let problem = IdentityError.wrongCredentials.description
                    return confirm(grant, call, name: name, problem: problem).answer(status: 403)
                }
            }
            guard try await tokens.decide(grant, user: user) else { return ask(problem: unknown).answer(status: 404) }
            guard let user else {
                return WebPage("Not let in", "<p>The device was not let in. You may close this page.</p>").answer()
            }
            return WebPage(
                "Signed in", "<p>The device is signed in as <strong>\(user.name)</strong>. You may close this page.</p>"
            ).answer()
        }
    }

    private static func ask(problem: String? = nil) -> WebPage {
        WebPage(
            "Sign in on a device", WebPage.problem(problem),
            """
            <form method="get" action="/oauth/device">
            \(WebPage.text("user_code", "The code that the device shows"))
            <button class="main">Next</button>
            </form>
            """)
    }

    private static func confirm(
        _ grant: DeviceGrant, _ call: Call, name: String = "", problem: String? = nil
    ) -> WebPage {
        let client = call.services.tokens.clients.find(grant.client)?.name ?? grant.client
        let code = grant.userCode.prefix(4) + "-" + grant.userCode.dropFirst(4)
        return WebPage(
            "Sign in on a device", WebPage.problem(problem),
            """
            <p><strong>\(client)</strong> on a device that shows <code>\(String(code))</code> wants to be signed in as you.</p>
            """,
            WebPage.covers(grant.scope),
            """
            <p class="note">Go on only if you have begun this yourself just now, and the device shows this code. If somebody
            sent you here, it is they who would be signed in.</p>
            <form method="post" action="/oauth/device">
            \(WebPage.hidden([("user_code", String(code))]))
            \(WebPage.text("username", "User name", value: name, autocomplete: "username"))
            \(WebPage.password())
            <button class="main" name="action" value="allow">Sign in</button>
            <button name="action" value="deny" formnovalidate>No</button>
            </form>
            """)
    }
}
