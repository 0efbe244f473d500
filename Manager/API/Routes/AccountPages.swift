import HTTPTypes
import ManagerIdentity
import ManagerModel

/// The pages that mailed links lead to: to become a user, and to set a new password. They work without a portal.
enum AccountPages {
    private static let replies: [(status: Int, reply: Route.Reply)] =
        [200, 400, 403, 404, 409, 429, 503].map { ($0, .text(type: "text/html")) }
    private static let token = QueryParameter("token", .line(0...128), "What the mailed link holds.")
    private static let secret = Schema.string(TextRule(lengths: 0...128, isSecret: true))
    private static let registration = ObjectSchema(
        "RegistrationForm",
        [
            .init("email", .line(0...254), "to ask for a link"), .init("token", secret, "to become a user"),
            .init("name", .line(0...64)), .init("full_name", .line(0...128)), .init("password", .password),
            .init("again", .password),
        ])
    private static let reset = ObjectSchema(
        "PasswordResetForm",
        [
            .init("email", .line(0...254), "to ask for a link"), .init("token", secret, "to set the password"),
            .init("password", .password), .init("again", .password),
        ])

    static let routes: [Route] = [
        Route(
            .get, "/account/register", "The page where people become users", .registrationRequest, query: [token],
            replies: replies
        ) { call in
            try await show(call, .registration, ask: askToRegister, form: { introduce($0) })
        },
        Route(
            .post, "/account/register", "Become a user, on that page", .registrationRequest, body: .form(registration),
            replies: replies, isIdempotent: false, handler: register),
        Route(
            .get, "/account/reset", "The page where users set a new password", .registrationRequest, query: [token],
            replies: replies
        ) { call in
            try await show(call, .passwordReset, ask: askForReset, form: { choose($0) })
        },
        Route(
            .post, "/account/reset", "Set a new password, on that page", .registrationRequest, body: .form(reset),
            replies: replies, isIdempotent: false, handler: setPassword),
    ]

    private static func show(
        _ call: Call, _ purpose: MailedLink.Purpose, ask: (String?) -> WebPage, form: (String) -> WebPage
    ) async throws -> Answer {
        guard let token = call.query.string("token"), !token.isEmpty else { return ask(nil).answer() }
        guard try await call.mailedLinks.isGood(token, for: purpose) else {
            return ask(dead).answer(status: 404)
        }
        return form(token).answer()
    }

    private static let dead = "this link does not work any more: it was used, or is too old; ask for a new one here"

    /// What is left to do for whoever comes with a link that does not work: a form for it would only be filled in again.
    private static func rejection(
        _ token: String, _ purpose: MailedLink.Purpose, _ call: Call, ask: (String?) -> WebPage
    ) async throws -> Answer? {
        var isGood = false
        let problem = try await refusing({ ask($0) }) {
            isGood = try await call.mailedLinks.isGood(token, for: purpose)
            return ask(dead).answer(status: 404)
        }
        return isGood ? nil : problem
    }

    @Sendable private static func register(_ call: Call) async throws -> Answer {
        try PageAnswer.checkSameSite(call)
        guard let token = call.body["token"]?.string, !token.isEmpty else {
            return try await refusing({ askToRegister($0) }) {
                try await call.mailedLinks.askToRegister(
                    email: call.body["email"]?.string ?? "", by: call.anonymousActor)
                return mailed.answer()
            }
        }
        if let answer = try await rejection(token, .registration, call, ask: askToRegister) { return answer }
        let (name, fullName) = (call.body["name"]?.string ?? "", call.body["full_name"]?.string ?? "")
        return try await refusing({ introduce(token, name: name, fullName: fullName, problem: $0) }) {
            guard SchemaCheck.faults(of: .string(name), in: .name()).isEmpty else {
                throw Refusal(
                    .invalidRequest,
                    "a user's name begins with a letter or digit and has at most 64 letters, digits, '.', '_' and '-'")
            }
            let user = try await call.mailedLinks.register(
                token, as: .init(name: name, password: try password(call), fullName: fullName), from: call.address,
                request: call.requestID)
            return WebPage(
                "Welcome",
                "<p>You are a user of this site now, by the name <strong>\(user.name)</strong>. You may close this page.</p>"
            ).answer()
        }
    }

    @Sendable private static func setPassword(_ call: Call) async throws -> Answer {
        try PageAnswer.checkSameSite(call)
        guard let token = call.body["token"]?.string, !token.isEmpty else {
            return try await refusing({ askForReset($0) }) {
                try await call.mailedLinks.askForReset(
                    email: call.body["email"]?.string ?? "", by: call.anonymousActor)
                return mailed.answer()
            }
        }
        if let answer = try await rejection(token, .passwordReset, call, ask: askForReset) { return answer }
        return try await refusing({ choose(token, problem: $0) }) {
            try await call.mailedLinks.reset(
                token, password: try password(call), from: call.address, request: call.requestID)
            return WebPage(
                "Your password is set", "<p>All your sessions have ended: sign in with the new password.</p>"
            ).answer()
        }
    }

    private static func password(_ call: Call) throws -> String {
        let password = call.body["password"]?.string ?? ""
        guard password == call.body["again"]?.string ?? "" else {
            throw Refusal(.invalidRequest, "the two passwords differ")
        }
        return password
    }

    /// What goes wrong is shown on the page.
    private static func refusing(
        _ page: (String) -> WebPage, _ body: () async throws -> Answer
    ) async throws -> Answer {
        do {
            return try await body()
        } catch let error where error is Refusal || error is IdentityError {
            guard let problem = Problem(error) else { throw error }
            let detail = problem.fields.first.map { " (\($0.detail))" } ?? ""
            return page(problem.detail + detail).answer(
                status: problem.status, headers: problem.headers.map { (name: $0.0, value: $0.1) })
        }
    }

    // MARK: What they look like

    private static let mailed = WebPage(
        "Look into your mail",
        "<p>If there is something to say, it was mailed to you just now. The link in it works once, and not for long.</p>"
    )

    private static func askToRegister(_ problem: String?) -> WebPage {
        WebPage(
            "Register", WebPage.problem(problem),
            """
            <p>You get a link by e-mail, and then choose a name and a password.</p>
            <form method="post" action="/account/register">
            \(WebPage.text("email", "E-mail address", autocomplete: "email"))
            <button class="main">Send</button>
            </form>
            """)
    }

    private static func introduce(
        _ token: String, name: String = "", fullName: String = "", problem: String? = nil
    ) -> WebPage {
        WebPage(
            "Register", WebPage.problem(problem),
            """
            <form method="post" action="/account/register">
            \(WebPage.hidden([("token", token)]))
            \(WebPage.text("name", "User name", value: name, autocomplete: "username"))
            \(WebPage.text("full_name", "Your name", value: fullName, autocomplete: "name"))
            \(WebPage.password("password", "Password, at least 10 characters", isNew: true))
            \(WebPage.password("again", "The password again", isNew: true))
            <button class="main">Register</button>
            </form>
            """)
    }

    private static func askForReset(_ problem: String?) -> WebPage {
        WebPage(
            "A new password", WebPage.problem(problem),
            """
            <p>You get a link by e-mail, with which you choose a new password.</p>
            <form method="post" action="/account/reset">
            \(WebPage.text("email", "E-mail address", autocomplete: "email"))
            <button class="main">Send</button>
            </form>
            """)
    }

    private static func choose(_ token: String, problem: String? = nil) -> WebPage {
        WebPage(
            "A new password", WebPage.problem(problem),
            """
            <form method="post" action="/account/reset">
            \(WebPage.hidden([("token", token)]))
            \(WebPage.password("password", "New password, at least 10 characters", isNew: true))
            \(WebPage.password("again", "The password again", isNew: true))
            <button class="main">Set</button>
            </form>
            """)
    }
}
