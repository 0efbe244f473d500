import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

enum GroupRoutes {
    static let creation = ObjectSchema(
        "GroupCreation",
        [
            .init("name", .name(), required: true), .init("description", .line(0...256)),
            .init("account", .name(), "your own if not given"),
        ])
    static let change = ObjectSchema("GroupChange", [.init("name", .name()), .init("description", .line(0...256))])

    static let routes: [Route] = [
        Route(
            .get, "/v1/groups", "List groups: those that you are in, those of your account, or all", .groupRead,
            query: Listings.groups.query, replies: [(200, .list(GroupResource.schema))]
        ) { call in
            let scope = try call.scope(.groupRead)
            let request = try Listings.groups.request(call)
            return try await call.read { transaction in
                let groups = try transaction.groups.list(scope, request.page(call.commands(in: transaction)))
                return try request.document(groups) {
                    try GroupResource.encode($0, in: transaction)
                }
            }
        },
        Route(
            .post, "/v1/groups", "Create a group of an account's users", .groupCreate, body: .json(creation),
            replies: [(201, .one(GroupResource.schema))], leadsTo: "/v1/groups/{ref}"
        ) { call in
            let (actor, now) = (try call.actor, call.now)
            return try await call.write { transaction in
                let group = try call.services.groups.create(
                    name: call.body.text("name"), account: call.body["account"]?.string,
                    description: call.body["description"]?.string ?? "", by: actor, at: now, in: transaction)
                return .created(try GroupResource.encode(group, in: transaction), at: "/v1/groups/\(group.id)")
            }
        },
        Route(
            .get, "/v1/groups/{ref}", "Show a group and its members", .groupRead,
            replies: [(200, .one(GroupResource.schema))]
        ) { call in
            try await call.read { transaction in
                let group = try call.commands(in: transaction).group(call.parameter("ref"))
                return call.resource(try GroupResource.encode(group, in: transaction))
            }
        },
        Route(
            .patch, "/v1/groups/{ref}", "Rename a group or change its description", .groupChange, body: .json(change),
            replies: [(200, .one(GroupResource.schema))], isConditional: true
        ) { call in
            let (actor, now) = (try call.actor, call.now)
            return try await changed(call) { group, _, transaction in
                try call.services.groups.change(
                    group, name: call.body["name"]?.string, description: call.body["description"]?.string, by: actor,
                    at: now, in: transaction)
            }
        },
        Route(
            .delete, "/v1/groups/{ref}", "Delete a group; its members stay", .groupDelete, replies: [(204, .empty)],
            isConditional: true
        ) { call in
            let (actor, now) = (try call.actor, call.now)
            return try await call.write { transaction in
                let group = try call.commands(in: transaction).group(call.parameter("ref"))
                try call.checkMatch(try GroupResource.encode(group, in: transaction))
                try call.services.groups.remove(group, by: actor, at: now, in: transaction)
                return .noContent
            }
        },
        Route(
            .put, "/v1/groups/{ref}/members/{user}", "Put a user of the account into a group", .groupChange,
            replies: [(200, .one(GroupResource.schema))]
        ) { call in
            let (actor, now) = (try call.actor, call.now)
            return try await changed(call) { group, commands, transaction in
                let user = try commands.user(call.parameter("user"))
                try call.services.groups.add(user, to: group, by: actor, at: now, in: transaction)
                return group
            }
        },
        Route(
            .delete, "/v1/groups/{ref}/members/{user}", "Take a user out of a group", .groupChange,
            replies: [(200, .one(GroupResource.schema))]
        ) { call in
            let (actor, now) = (try call.actor, call.now)
            return try await changed(call) { group, commands, transaction in
                let user = try commands.user(call.parameter("user"))
                try call.services.groups.remove(user, from: group, by: actor, at: now, in: transaction)
                return group
            }
        },
    ]

    private static func changed(
        _ call: Call, _ change: @escaping @Sendable (Group, Commands, Transaction) throws -> Group
    ) async throws -> Answer {
        try await call.write { transaction in
            let commands = try call.commands(in: transaction)
            let group = try commands.group(call.parameter("ref"))
            try call.checkMatch(try GroupResource.encode(group, in: transaction))
            let changed = try change(group, commands, transaction)
            return .document(try GroupResource.encode(changed, in: transaction), tag: true)
        }
    }
}
