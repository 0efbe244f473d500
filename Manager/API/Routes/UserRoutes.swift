import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

enum UserRoutes {
    private static let roles = Schema.choice(Role.allCases.map(\.rawValue))
    static let creation = ObjectSchema(
        "UserCreation",
        [
            .init("name", .name(), required: true),
            .init("password", .password, required: true, "at least 10 characters"),
            .init("role", roles, "user if not given"), .init("email", .nullable(.email)),
        ])
    static let change = ObjectSchema(
        "UserChange",
        [
            .init("enabled", .boolean), .init("role", roles), .init("email", .nullable(.email)),
            .init("password", .password, "the new password; ends all sessions of the user"),
            .init("current_password", .password, "needed to change one's own password"),
        ])

    static let routes: [Route] = [
        Route(
            .get, "/v1/users", "List users; whoever is no superuser sees themselves", .userRead,
            query: QueryParameter.page, replies: [(200, .list(UserResource.schema))]
        ) { call in
            let actor = try call.actor
            let request = try PageRequest(call.query, list: "users")
            return try await call.read { transaction in
                let users = try call.services.users.list(request.page, by: actor, in: transaction)
                return request.document(users, place: { $0.id.description }, encode: UserResource.encode)
            }
        },
        Route(
            .post, "/v1/users", "Create a user", .userCreate, body: .json(creation),
            replies: [(201, .one(UserResource.schema))], handler: create),
        Route(
            .get, "/v1/users/me", "Who I am", .userRead, replies: [(200, .one(UserResource.schema))], handler: show),
        Route(
            .patch, "/v1/users/me", "Change my address or password", .userChange, body: .json(change),
            replies: [(200, .one(UserResource.schema))], isConditional: true, handler: update),
        Route(
            .get, "/v1/users/{ref}", "Show a user", .userRead, replies: [(200, .one(UserResource.schema))],
            handler: show),
        Route(
            .patch, "/v1/users/{ref}", "Change a user", .userChange, body: .json(change),
            replies: [(200, .one(UserResource.schema))], isConditional: true, handler: update),
        Route(
            .delete, "/v1/users/{ref}", "Delete a user", .userDelete, replies: [(204, .empty)], isConditional: true
        ) { call in
            let actor = try call.actor
            let now = call.now
            return try await call.write { transaction in
                let user = try call.commands(in: transaction).user(call.parameter("ref"))
                try call.checkMatch(UserResource.encode(user))
                try call.services.users.remove(user, by: actor, at: now, in: transaction)
                return .noContent
            }
        },
    ]

    /// Whom the path means; `/v1/users/me` has no parameter.
    private static func reference(_ call: Call) -> String { call.parameters["ref"] ?? Commands.oneself }

    @Sendable private static func show(_ call: Call) async throws -> Answer {
        try await call.read { transaction in
            call.resource(UserResource.encode(try call.commands(in: transaction).user(reference(call))))
        }
    }

    @Sendable private static func create(_ call: Call) async throws -> Answer {
        let actor = try call.actor
        let name = call.body["name"]?.string ?? ""
        let hash = try await call.services.tokens.hash(password: call.body["password"]?.string ?? "", userName: name)
        let new = UserService.NewUser(
            name: name, role: call.body["role"]?.string.flatMap(Role.init(rawValue:)) ?? .user,
            email: call.body["email"]?.string, passwordHash: hash)
        let now = call.now
        return try await call.write { transaction in
            let user = try call.services.users.create(new, by: actor, at: now, in: transaction)
            return .created(UserResource.encode(user), at: "/v1/users/\(user.id)")
        }
    }

    @Sendable private static func update(_ call: Call) async throws -> Answer {
        let actor = try call.actor
        let reference = reference(call)
        let user = try await call.read { transaction in
            let user = try call.commands(in: transaction).user(reference)
            // Looked at again below; here it spares the hashing of passwords.
            try call.checkMatch(UserResource.encode(user))
            return user
        }
        var change = UserService.Change(
            enabled: call.body["enabled"]?.boolean, role: call.body["role"]?.string.flatMap(Role.init(rawValue:)))
        if let email = call.body["email"] { change.email = .some(email.string) }
        if let password = call.body["password"]?.string {
            // A stolen token must not be enough to take an account over for good.
            if user.id == actor.user {
                guard let current = call.body["current_password"]?.string else {
                    throw Refusal(
                        .invalidRequest,
                        "current_password is missing: to change your own password, give the current one, too",
                        fields: [Refusal.Field(pointer: "/current_password", detail: "is missing")])
                }
                try await call.services.tokens.confirm(password: current, of: user, address: call.address)
            }
            change.passwordHash = try await call.services.tokens.hash(password: password, userName: user.name)
        }
        let decided = change
        let now = call.now
        return try await call.write { transaction in
            let user = try call.commands(in: transaction).user(user.id.description)
            try call.checkMatch(UserResource.encode(user))
            let changed = try call.services.users.change(user, decided, by: actor, at: now, in: transaction)
            return .document(UserResource.encode(changed), tag: true)
        }
    }
}
