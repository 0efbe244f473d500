import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

enum UserRoutes {
    private static let roleList = Schema.array(.name(maximum: 32), maximum: 16)
    static let creation = ObjectSchema(
        "UserCreation",
        [
            .init("name", .name(), required: true),
            .init(
                "password", .nullable(.password),
                "at least 10 characters; null for a user who signs in by an API key or a mailed link; not with source: directory"
            ),
            .init("role", .name(maximum: 32), "the same as roles with one entry; user if neither is given"),
            .init("roles", roleList), .init("account", .name(), "your own if not given"),
            .init("email", .nullable(.email)), .init("full_name", .line(0...128)),
            .init("unix_name", .nullable(.name())),
            .init(
                "source", .choice(User.Source.allCases.map(\.rawValue)),
                "who knows the password; local if not given, directory for somebody of the site's LDAP directory"),
            .init(
                "must_change_password", .boolean, "the password is good for setting another alone; false if not given"),
        ])
    static let change = ObjectSchema(
        "UserChange",
        [
            .init("enabled", .boolean), .init("role", .name(maximum: 32)), .init("roles", roleList),
            .init("account", .name(), "another account; for a user who has no instances and images"),
            .init("email", .nullable(.email)), .init("full_name", .line(0...128)),
            .init("unix_name", .nullable(.name())), .init("must_change_password", .boolean),
            .init("password", .password, "the new password; ends all sessions of the user"),
            .init("current_password", .password, "needed to change one's own password or address"),
        ])

    static let routes: [Route] = [
        Route(
            .get, "/v1/users", "List users: yourself, those of your account, or all", .userRead,
            query: Listings.users.query, replies: [(200, .list(UserResource.schema))]
        ) { call in
            let actor = try call.actor
            let request = try Listings.users.request(call)
            return try await call.read { transaction in
                let users = try call.services.users.list(
                    request.page(call.commands(in: transaction)), by: actor, in: transaction)
                return request.document(users, encode: UserResource.encode)
            }
        },
        Route(
            .post, "/v1/users", "Create a user", .userCreate, body: .json(creation),
            replies: [(201, .one(UserResource.schema))], leadsTo: "/v1/users/{ref}", handler: create),
        Route(
            .get, "/v1/users/me", "Who I am", .userRead, replies: [(200, .one(UserResource.schema))], handler: show),
        Route(
            .patch, "/v1/users/me", "Change my address, name or password", .userChange, body: .json(change),
            replies: [(200, .one(UserResource.schema))], isConditional: true, handler: update),
        Route(
            .get, "/v1/users/{ref}", "Show a user", .userRead, replies: [(200, .one(UserResource.schema))],
            handler: show),
        Route(
            .patch, "/v1/users/{ref}", "Change a user", .userChange, body: .json(change),
            replies: [(200, .one(UserResource.schema))], isConditional: true, handler: update),
        Route(
            .delete, "/v1/users/{ref}", "Delete a user who has no instances and images, or hand these over",
            .userDelete,
            query: [
                QueryParameter(
                    "hand_over_to", .reference, "The user of the same account who gets the instances and images.")
            ], replies: [(204, .empty)], isConditional: true, handler: remove),
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
        let body = call.body
        let name = body.text("name")
        let source = body["source"]?.string.flatMap(User.Source.init) ?? .local
        // That there is none must have been meant.
        guard body["password"] != nil || source == .directory else {
            throw Refusal(
                .invalidRequest,
                "password is missing; give null for a user who signs in by an API key or a mailed link alone",
                fields: [Refusal.Field(pointer: "/password", detail: "is missing")])
        }
        var hash = ""
        if let password = body["password"]?.string {
            hash = try await call.services.tokens.hash(password: password, userName: name)
        }
        var new = UserService.NewUser(
            name: name, roles: roles(body) ?? [], account: body["account"]?.string, email: body["email"]?.string,
            passwordHash: hash)
        new.fullName = body["full_name"]?.string ?? ""
        new.unixName = body["unix_name"]?.string
        new.mustChangePassword = body["must_change_password"]?.boolean ?? false
        new.source = source
        guard new.source == .local || hash.isEmpty else {
            throw Refusal(
                .invalidRequest, "a user of the directory signs in with the directory's password, and has none here",
                fields: [Refusal.Field(pointer: "/password", detail: "must not stand beside source: directory")])
        }
        let (decided, now) = (new, call.now)
        return try await call.write { transaction in
            let user = try call.services.users.create(decided, by: actor, at: now, in: transaction)
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
        let body = call.body
        var change = UserService.Change(
            enabled: body["enabled"]?.boolean, roles: roles(body), account: body["account"]?.string,
            fullName: body["full_name"]?.string, mustChangePassword: body["must_change_password"]?.boolean)
        if let email = body["email"] { change.email = .some(email.string) }
        if let name = body["unix_name"] { change.unixName = .some(name.string) }
        let password = body["password"]?.string
        // Whoever reads the address's mail can set a new password.
        if password != nil || (change.email.map { $0 != user.email } ?? false) { try await checkIsOneself(user, call) }
        if let password { change.passwordHash = try await newHash(password, of: user, call) }
        let decided = change
        let now = call.now
        return try await call.write { transaction in
            let user = try call.commands(in: transaction).user(user.id.description)
            try call.checkMatch(UserResource.encode(user))
            let changed = try call.services.users.change(user, decided, by: actor, at: now, in: transaction)
            return .document(UserResource.encode(changed), tag: true)
        }
    }

    private static func newHash(_ password: String, of user: User, _ call: Call) async throws -> String {
        guard user.source == .local else {
            throw Refusal(
                .conflict, "the password of '\(user.name)' is kept by the site's directory; change it there")
        }
        return try await call.services.tokens.hash(password: password, userName: user.name)
    }

    /// A stolen token, or acting as another, must not be enough to take a user over for good: nobody changes what lets in
    /// without being who they are.
    private static func checkIsOneself(_ user: User, _ call: Call) async throws {
        try call.principal?.checkIsOneself("change passwords or addresses")
        guard user.id == call.principal?.userID, !user.passwordHash.isEmpty else { return }
        guard let current = call.body["current_password"]?.string else {
            throw Refusal(
                .invalidRequest,
                "your present password is missing: to change your own password or address, give it as current_password",
                fields: [Refusal.Field(pointer: "/current_password", detail: "is missing")])
        }
        try await call.services.tokens.confirm(password: current, of: user, address: call.address)
    }

    @Sendable private static func remove(_ call: Call) async throws -> Answer {
        let actor = try call.actor
        let now = call.now
        return try await call.write { transaction in
            let commands = try call.commands(in: transaction)
            let user = try commands.user(call.parameter("ref"))
            try call.checkMatch(UserResource.encode(user))
            let heir = try call.query.string("hand_over_to").map { try commands.user($0) }
            try call.services.users.remove(user, handOverTo: heir, by: actor, at: now, in: transaction)
            return .noContent
        }
    }

    private static func roles(_ body: JSONValue) -> [String]? {
        if let roles = body["roles"]?.array { return roles.compactMap(\.string) }
        return body["role"]?.string.map { [$0] }
    }
}
