import HTTPTypes
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

enum ServerGroupRoutes {
    static let creation = ObjectSchema(
        "ServerGroupCreation",
        [
            .init("name", .name(), required: true),
            .init(
                "policy", .choice(ServerGroup.Policy.allCases.map(\.rawValue)), required: true,
                "instances on one host, on different hosts, or so where that can be"),
            .init(
                "max_per_host", .nullable(.integer(1...Int64(ServerGroup.largestMaximumPerHost))),
                "with anti-affinity: how many of it a host may have; 1 if not given"),
        ])

    static let routes: [Route] = [
        Route(
            .get, "/v1/server-groups", "List server groups", .serverGroupRead, query: Listings.serverGroups.query,
            replies: [(200, .list(ServerGroupResource.item))]
        ) { call in
            let scope = try call.scope(.serverGroupRead)
            let request = try Listings.serverGroups.request(call)
            return try await call.read { transaction in
                let names = Names(transaction)
                let groups = try transaction.serverGroups.list(scope, request.page(call.commands(in: transaction)))
                return try request.document(groups) { try ServerGroupResource.item($0, names, in: transaction) }
            }
        },
        Route(
            .post, "/v1/server-groups", "Create a server group: instances that are to be together, or apart",
            .serverGroupCreate, body: .json(creation), replies: [(201, .one(ServerGroupResource.schema))],
            leadsTo: "/v1/server-groups/{ref}"
        ) { call in
            let policy = ServerGroup.Policy(rawValue: call.body.text("policy")) ?? .antiAffinity
            return try await call.write { transaction in
                let group = try call.commands(in: transaction).createServerGroup(
                    name: call.body.text("name"), policy: policy, maximumPerHost: call.body.count("max_per_host"))
                return .created(
                    try ServerGroupResource.encode(group, in: transaction), at: "/v1/server-groups/\(group.id)")
            }
        },
        Route(
            .get, "/v1/server-groups/{ref}", "Show a server group and its instances", .serverGroupRead,
            replies: [(200, .one(ServerGroupResource.schema))]
        ) { call in
            try await call.read { transaction in
                let group = try call.commands(in: transaction).serverGroup(call.parameter("ref"))
                return call.resource(try ServerGroupResource.encode(group, in: transaction))
            }
        },
        Route(
            .delete, "/v1/server-groups/{ref}", "Delete a server group that has no instances any more",
            .serverGroupDelete, replies: [(204, .empty)], isConditional: true
        ) { call in
            try await call.write { transaction in
                let commands = try call.commands(in: transaction)
                let group = try commands.serverGroup(call.parameter("ref"))
                try call.checkMatch(try ServerGroupResource.encode(group, in: transaction))
                _ = try commands.deleteServerGroup(group.id.description)
                return .noContent
            }
        },
    ]
}
