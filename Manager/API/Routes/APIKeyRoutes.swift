import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

/// API keys: how programs sign in.
enum APIKeyRoutes {
    private static let scopes = Schema.array(.line(1...64), maximum: 64)
    private static let end = Schema.string(
        TextRule(
            lengths: 10...40, format: "date-time", wanted: "must be a time such as 2027-01-31T12:00:00Z",
            allows: { Timestamp($0) != nil }))

    static let schema = ObjectSchema.answer(
        "APIKey",
        [
            ("id", .identifier), ("name", .text), ("owner", .text), ("scopes", .array(.text, maximum: 64)),
            ("created_at", .time), ("expires_at", .nullable(.time)), ("last_used_at", .nullable(.time)),
            ("last_used_from", .nullable(.text)),
        ])
    static let created = ObjectSchema(
        "APIKeyCreated",
        schema.fields + [
            .init("secret", .text, required: true, "shown this once; the client_secret for POST /oauth/token")
        ])
    static let creation = ObjectSchema(
        "APIKeyCreation",
        [
            .init("name", .name(), required: true),
            .init("scopes", scopes, "what the key covers, such as instances:read; everything if not given"),
            .init("expires_at", .nullable(end), "when it ends; never if not given"),
            .init("owner", .reference, "a user whose key it shall be, such as a service; oneself if not given"),
        ])
    static let change = ObjectSchema(
        "APIKeyChange",
        [.init("name", .name()), .init("scopes", scopes), .init("expires_at", .nullable(end))])

    static let routes: [Route] = [
        Route(
            .get, "/v1/api-keys", "List API keys", .apiKeyRead, query: Listings.apiKeys.query,
            replies: [(200, .list(schema))]
        ) { call in
            let scope = try call.scope(.apiKeyRead)
            let request = try Listings.apiKeys.request(call)
            return try await call.read { transaction in
                let names = Names(transaction)
                let page = try request.page(call.commands(in: transaction))
                return try request.document(transaction.apiKeys.list(scope, page)) { try encode($0, names) }
            }
        },
        Route(
            .post, "/v1/api-keys", "Create an API key; its secret is shown this once", .apiKeyCreate,
            body: .json(creation), replies: [(201, .one(created))], leadsTo: "/v1/api-keys/{ref}", answersSecret: true,
            handler: create),
        Route(
            .get, "/v1/api-keys/{ref}", "Show an API key", .apiKeyRead, replies: [(200, .one(schema))]
        ) { call in
            try await call.read { transaction in
                let key = try call.commands(in: transaction).apiKey(call.parameter("ref"))
                let names = Names(transaction)
                return call.resource(try encode(key, names), tagged: try tagged(key, names))
            }
        },
        Route(
            .patch, "/v1/api-keys/{ref}", "Change an API key", .apiKeyChange, body: .json(change),
            replies: [(200, .one(schema))], isConditional: true, handler: update),
        Route(
            .delete, "/v1/api-keys/{ref}", "End an API key, with the tokens that it got", .apiKeyDelete,
            replies: [(204, .empty)], isConditional: true
        ) { call in
            guard let principal = call.principal else { throw IdentityError.invalidToken(.malformed) }
            let (actor, now) = (try call.actor, call.now)
            return try await call.write { transaction in
                let key = try call.commands(in: transaction).apiKey(call.parameter("ref"))
                try call.checkMatch(try tagged(key, Names(transaction)))
                try call.services.apiKeys.remove(key, by: principal, actor: actor, at: now, in: transaction)
                return .noContent
            }
        },
    ]

    @Sendable private static func create(_ call: Call) async throws -> Answer {
        guard let principal = call.principal else { throw IdentityError.invalidToken(.malformed) }
        let (actor, now) = (try call.actor, call.now)
        let new = APIKeyService.NewKey(
            name: call.body["name"]?.string ?? "", scope: try scope(call.body["scopes"]) ?? .everything,
            expiresAt: call.body["expires_at"]?.string.flatMap { Timestamp($0) })
        return try await call.write { transaction in
            let owner = try owner(call, principal, in: transaction)
            let (key, secret) = try call.services.apiKeys.create(
                new, for: owner, by: principal, actor: actor, at: now, in: transaction)
            let names = Names(transaction)
            let document = try encode(key, names)
            return Answer.document(
                .object((document.members ?? []) + [.init("secret", .string(secret))]), status: 201,
                headers: [("Location", "/v1/api-keys/\(key.id)"), ("ETag", EntityTag(of: try tagged(key, names)).text)])
        }
    }

    @Sendable private static func update(_ call: Call) async throws -> Answer {
        guard let principal = call.principal else { throw IdentityError.invalidToken(.malformed) }
        let (actor, now) = (try call.actor, call.now)
        var change = APIKeyService.Change(
            name: call.body["name"]?.string, scope: try scope(call.body["scopes"]))
        if let end = call.body["expires_at"] { change.expiresAt = .some(end.string.flatMap { Timestamp($0) }) }
        let decided = change
        return try await call.write { transaction in
            let key = try call.commands(in: transaction).apiKey(call.parameter("ref"))
            let names = Names(transaction)
            try call.checkMatch(try tagged(key, names))
            let changed = try call.services.apiKeys.change(
                key, decided, by: principal, actor: actor, at: now, in: transaction)
            return .document(
                try encode(changed, names), headers: [("ETag", EntityTag(of: try tagged(changed, names)).text)])
        }
    }

    /// Whose key a new one shall be.
    private static func owner(_ call: Call, _ principal: Principal, in sql: Transaction) throws -> User {
        let commands = try call.commands(in: sql)
        let owner = try commands.user(call.body["owner"]?.string ?? principal.userID.description)
        guard try principal.rights.allows(.apiKeyCreate, commands.ownership(of: owner.id)) else {
            throw Refusal(.forbidden, "you may not make API keys for '\(owner.name)'")
        }
        return owner
    }

    private static func scope(_ value: JSONValue?) throws(Refusal) -> TokenScope? {
        guard let words = value?.array?.compactMap(\.string), !words.isEmpty else {
            guard value?.array != nil else { return nil }
            throw Refusal(
                .invalidRequest, "scopes is empty; a key that covers nothing is of no use",
                fields: [.init(pointer: "/scopes", detail: "must have at least one entry")])
        }
        do throws(TokenScope.Fault) {
            return try TokenScope(words: words)
        } catch {
            throw Refusal(
                .invalidRequest, error.description, fields: [.init(pointer: "/scopes", detail: error.description)])
        }
    }

    /// What the entity tag is of: using a key is no change of it, and must not stand in the way of one.
    private static func tagged(_ key: APIKey, _ names: Names) throws -> JSONValue {
        var unused = key
        (unused.lastUsedAt, unused.lastUsedFrom) = (nil, nil)
        return try encode(unused, names)
    }

    private static func encode(_ key: APIKey, _ names: Names) throws -> JSONValue {
        [
            "id": .text(key.id), "name": .string(key.name), "owner": .string(try names.user(key.user)),
            "scopes": .texts(key.scopes), "created_at": .text(key.createdAt), "expires_at": .text(key.expiresAt),
            "last_used_at": .text(key.lastUsedAt), "last_used_from": .text(key.lastUsedFrom),
        ]
    }
}

/// The keys that sign access tokens.
enum SigningKeyRoutes {
    private static let request = ObjectSchema(
        "SigningKeyRotation",
        [
            .init(
                "discard_old", .boolean,
                "ends all other keys, and with them every access token, at once: where a key may have been stolen")
        ])
    private static let schema = ObjectSchema.answer(
        "SigningKey", [("id", .text), ("created_at", .time), ("signs_from", .time)])

    static let routes: [Route] = [
        Route(
            .post, "/v1/signing-keys/rotate", "Make a new key that signs access tokens", .signingKeyRotate,
            body: .optionalJSON(request), replies: [(201, .one(schema))]
        ) { call in
            let (actor, now) = (try call.actor, call.now)
            let isDiscarding = call.body["discard_old"]?.boolean ?? false
            return try await call.write { transaction in
                let key = try call.services.signingKeys.rotate(
                    discardingOld: isDiscarding, by: actor, at: now, in: transaction)
                return .document(
                    [
                        "id": .string(key.id), "created_at": .text(key.createdAt),
                        "signs_from": .text(key.signsFrom),
                    ], status: 201)
            }
        }
    ]
}
