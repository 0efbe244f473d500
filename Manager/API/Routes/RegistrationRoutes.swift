import HTTPTypes
import ManagerIdentity
import ManagerModel
import ManagerStore
import ProtocolModel

/// Becoming a user by e-mail, and new passwords by mailed links. None of these says who exists.
enum RegistrationRoutes {
    private static let request = ObjectSchema(
        "RegistrationRequest", [.init("email", .email, required: true, "where the link is mailed to")])
    private static let completion = ObjectSchema(
        "Registration",
        [
            .init("token", secret, required: true, "what the mailed link holds"),
            .init("name", .name(), required: true),
            .init("password", .password, required: true, "at least 10 characters"),
            .init("full_name", .line(0...128)),
        ])
    private static let resetRequest = ObjectSchema(
        "PasswordResetRequest", [.init("email", .email, required: true, "the user's; the link is mailed to it")])
    private static let reset = ObjectSchema(
        "PasswordReset",
        [
            .init("token", secret, required: true, "what the mailed link holds"),
            .init("password", .password, required: true, "the new password; ends all sessions of the user"),
        ])
    private static let secret = Schema.string(TextRule(lengths: 1...128, isSecret: true))

    static let routes: [Route] = [
        Route(
            .post, "/v1/registrations", "Ask for a link to register with, by e-mail", .registrationRequest,
            body: .json(request), replies: [(202, .empty)], isIdempotent: false
        ) { call in
            try await call.mailedLinks.askToRegister(
                email: call.body["email"]?.string ?? "", by: call.anonymousActor)
            return Answer(status: 202)
        },
        Route(
            .post, "/v1/registrations/complete", "Become a user, by a mailed link", .registrationRequest,
            body: .json(completion), replies: [(201, .one(UserResource.schema))], leadsTo: "/v1/users/{ref}",
            isIdempotent: false
        ) { call in
            let user = try await call.mailedLinks.register(
                call.body["token"]?.string ?? "",
                as: .init(
                    name: call.body["name"]?.string ?? "", password: call.body["password"]?.string ?? "",
                    fullName: call.body["full_name"]?.string ?? ""),
                from: call.address, request: call.requestID)
            return .created(UserResource.encode(user), at: "/v1/users/\(user.id)")
        },
        Route(
            .post, "/v1/password-resets", "Ask for a link to set a new password with, by e-mail", .registrationRequest,
            body: .json(resetRequest), replies: [(202, .empty)], isIdempotent: false
        ) { call in
            try await call.mailedLinks.askForReset(
                email: call.body["email"]?.string ?? "", by: call.anonymousActor)
            return Answer(status: 202)
        },
        Route(
            .post, "/v1/password-resets/complete", "Set a new password, by a mailed link", .registrationRequest,
            body: .json(reset), replies: [(204, .empty)], isIdempotent: false
        ) { call in
            try await call.mailedLinks.reset(
                call.body["token"]?.string ?? "", password: call.body["password"]?.string ?? "", from: call.address,
                request: call.requestID)
            return .noContent
        },
    ]
}

extension Call {
    var mailedLinks: MailedLinks {
        get throws {
            guard let links = services.mailedLinks else {
                throw Refusal(
                    .conflict, "this manager sends no mail; ask the operator", detailCode: "mail_not_configured")
            }
            return links
        }
    }

    /// Whoever sends a request that needs no token.
    var anonymousActor: Actor {
        Actor(user: nil, name: "anonymous", rights: .none, account: "", request: requestID, address: address)
    }
}
