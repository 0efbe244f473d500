import HTTPTypes
import ManagerIdentity
import ManagerModel
import ManagerStore
import ProtocolModel

/// The list of those who may register (POR-13).
enum WhitelistRoutes {
    private static let pattern = Schema.string(
        TextRule(
            lengths: 1...254, pattern: "^[!-?A-~]*@?[!-?A-~]*$", wanted: "must be \(WhitelistPattern.form)",
            allows: { WhitelistPattern($0) != nil }))
    private static let creation = ObjectSchema(
        "RegistrationWhitelistEntryCreation",
        [
            .init("pattern", pattern, required: true, WhitelistPattern.form),
            .init("description", .line(0...256)),
        ])
    private static let change = ObjectSchema(
        "RegistrationWhitelistEntryChange",
        [.init("pattern", pattern, WhitelistPattern.form), .init("description", .line(0...256))])
    static let schema = ObjectSchema.answer(
        "RegistrationWhitelistEntry",
        [("id", .identifier), ("pattern", .text), ("description", .text), ("created_at", .time)])
    private static let path = "/v1/registration-whitelist"

    static let routes: [Route] = [
        Route(
            .get, path, "List who may register", .registrationRead, query: Listings.whitelist.query,
            replies: [(200, .list(schema))]
        ) { call in
            let request = try Listings.whitelist.request(call)
            return try await call.read { transaction in
                request.document(
                    try transaction.registrations.entries(request.page(call.commands(in: transaction))),
                    encode: encode)
            }
        },
        Route(
            .post, path, "Let somebody register", .registrationChange, body: .json(creation),
            replies: [(201, .one(schema))], leadsTo: path + "/{id}"
        ) { call in
            let (actor, now) = (try call.actor, call.now)
            return try await call.write { transaction in
                let entry = try WhitelistService().add(
                    call.body["pattern"]?.string ?? "", description: call.body["description"]?.string ?? "", by: actor,
                    at: now, in: transaction)
                return .created(encode(entry), at: "\(path)/\(entry.id)")
            }
        },
        Route(.get, path + "/{id}", "Show an entry", .registrationRead, replies: [(200, .one(schema))]) { call in
            try await call.read { transaction in call.resource(encode(try find(call, transaction))) }
        },
        Route(
            .patch, path + "/{id}", "Change whom an entry means, or its description", .registrationChange,
            body: .json(change), replies: [(200, .one(schema))], isConditional: true
        ) { call in
            let (actor, now) = (try call.actor, call.now)
            return try await call.write { transaction in
                let entry = try find(call, transaction)
                try call.checkMatch(encode(entry))
                let changed = try WhitelistService().change(
                    entry, pattern: call.body["pattern"]?.string, description: call.body["description"]?.string,
                    by: actor, at: now, in: transaction)
                return .document(encode(changed), tag: true)
            }
        },
        Route(
            .delete, path + "/{id}", "Let somebody register no longer", .registrationChange, replies: [(204, .empty)],
            isConditional: true
        ) { call in
            let (actor, now) = (try call.actor, call.now)
            return try await call.write { transaction in
                let entry = try find(call, transaction)
                try call.checkMatch(encode(entry))
                try WhitelistService().remove(entry, by: actor, at: now, in: transaction)
                return .noContent
            }
        },
    ]

    @Sendable private static func encode(_ entry: WhitelistEntry) -> JSONValue {
        [
            "id": .text(entry.id), "pattern": .string(entry.pattern.text), "description": .string(entry.description),
            "created_at": .text(entry.createdAt),
        ]
    }

    private static func find(_ call: Call, _ transaction: Transaction) throws -> WhitelistEntry {
        let reference = call.parameter("id")
        guard let entry = try WhitelistEntryID(reference).flatMap({ try transaction.registrations.entry($0) }) else {
            throw Refusal.notFound("whitelist entry", reference)
        }
        return entry
    }
}
