import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

/// Roles: the system's own, which nobody changes, and the site's.
enum RoleRoutes {
    private static let permissions = Schema.map(.choice(["own", "account", "all"]), maximum: 256)
    static let creation = ObjectSchema(
        "RoleCreation",
        [
            .init("name", .name(maximum: 32), required: true), .init("description", .line(0...256)),
            .init("permissions", permissions, required: true, "how far each permission reaches: own, account or all"),
        ])
    static let change = ObjectSchema(
        "RoleChange", [.init("description", .line(0...256)), .init("permissions", permissions, "all of them, anew")])

    static let routes: [Route] = [
        Route(
            .get, "/v1/roles", "List roles and what they allow", .roleRead, query: Listings.roles.query,
            replies: [(200, .list(RoleResource.schema))]
        ) { call in
            let request = try Listings.roles.request(call)
            return try await call.read { transaction in
                let roles =
                    try Role.allCases.map(RoleResource.encode) + transaction.roles.list().map(RoleResource.encode)
                return request.document(request.page(of: roles)) { $0 }
            }
        },
        Route(
            .post, "/v1/roles", "Define a role of the site", .roleCreate, body: .json(creation),
            replies: [(201, .one(RoleResource.schema))], leadsTo: "/v1/roles/{name}"
        ) { call in
            let (actor, now) = (try call.actor, call.now)
            return try await call.write { transaction in
                let role = try call.services.roles.create(
                    name: call.body.text("name"), description: call.body["description"]?.string ?? "",
                    permissions: call.body.texts("permissions") ?? [:], by: actor, at: now, in: transaction)
                return .created(RoleResource.encode(role), at: "/v1/roles/\(role.name)")
            }
        },
        Route(
            .get, "/v1/roles/{name}", "Show what a role allows", .roleRead, replies: [(200, .one(RoleResource.schema))]
        ) { call in
            if let role = Role(rawValue: call.parameter("name")) { return call.resource(RoleResource.encode(role)) }
            return try await call.read { transaction in
                call.resource(RoleResource.encode(try find(call.parameter("name"), in: transaction)))
            }
        },
        Route(
            .patch, "/v1/roles/{name}", "Change what a role of the site allows; it counts at once", .roleChange,
            body: .json(change), replies: [(200, .one(RoleResource.schema))], isConditional: true
        ) { call in
            let (actor, now) = (try call.actor, call.now)
            return try await call.write { transaction in
                let role = try find(call.parameter("name"), in: transaction)
                try call.checkMatch(RoleResource.encode(role))
                let changed = try call.services.roles.change(
                    role, description: call.body["description"]?.string, permissions: call.body.texts("permissions"),
                    by: actor, at: now, in: transaction)
                return .document(RoleResource.encode(changed), tag: true)
            }
        },
        Route(
            .delete, "/v1/roles/{name}", "Delete a role that nobody has", .roleDelete, replies: [(204, .empty)],
            isConditional: true
        ) { call in
            let (actor, now) = (try call.actor, call.now)
            return try await call.write { transaction in
                let role = try find(call.parameter("name"), in: transaction)
                try call.checkMatch(RoleResource.encode(role))
                try call.services.roles.remove(role, by: actor, at: now, in: transaction)
                return .noContent
            }
        },
    ]

    private static func find(_ name: String, in transaction: Transaction) throws -> RoleDefinition {
        guard Role(rawValue: name) == nil else {
            throw Refusal(.conflict, "role '\(name)' is the system's own and cannot be changed; define another one")
        }
        guard let role = try transaction.roles.find(name) else { throw Refusal.notFound("role", name) }
        return role
    }
}
