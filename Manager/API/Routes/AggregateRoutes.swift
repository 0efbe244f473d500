import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

enum AggregateRoutes {
    private static let nodes = Schema.array(.reference, maximum: 10_000)
    static let creation = ObjectSchema(
        "AggregateCreation",
        [
            .init("name", .name(), required: true),
            .init("metadata", .properties, "such as gpu=true or availability_zone=denver"), .init("nodes", nodes),
        ])
    static let change = ObjectSchema(
        "AggregateChange",
        [.init("name", .name()), .init("metadata", .propertiesPatch, "merged with what is there")])
    static let addition = ObjectSchema("AggregateNodes", [.init("nodes", nodes, required: true)])

    static let routes: [Route] = [
        Route(
            .get, "/v1/aggregates", "List groups of nodes", .aggregateRead, query: Listings.aggregates.query,
            replies: [(200, .list(AggregateResource.schema))]
        ) { call in
            let request = try Listings.aggregates.request(call)
            return try await call.read { transaction in
                try request.document(transaction.aggregates.list(request.page(call.commands(in: transaction)))) {
                    try AggregateResource.encode($0, in: transaction)
                }
            }
        },
        Route(
            .post, "/v1/aggregates", "Create a group of nodes", .aggregateCreate, body: .json(creation),
            replies: [(201, .one(AggregateResource.schema))], leadsTo: "/v1/aggregates/{ref}"
        ) { call in
            try await call.write { transaction in
                let aggregate = try call.commands(in: transaction).createAggregate(
                    name: call.body.text("name"), metadata: call.body.texts("metadata") ?? [:], nodes: named(call))
                return .created(
                    try AggregateResource.encode(aggregate, in: transaction), at: "/v1/aggregates/\(aggregate.id)")
            }
        },
        Route(
            .get, "/v1/aggregates/{ref}", "Show a group of nodes", .aggregateRead,
            replies: [(200, .one(AggregateResource.schema))]
        ) { call in
            try await call.read { transaction in
                let aggregate = try call.commands(in: transaction).aggregate(call.parameter("ref"))
                return call.resource(try AggregateResource.encode(aggregate, in: transaction))
            }
        },
        Route(
            .patch, "/v1/aggregates/{ref}", "Change a group's name or metadata", .aggregateChange, body: .json(change),
            replies: [(200, .one(AggregateResource.schema))], isConditional: true
        ) { call in
            try await changed(call) { commands, aggregate in
                try commands.updateAggregate(
                    aggregate.id.description, name: call.body["name"]?.string,
                    metadata: call.body.patched("metadata", aggregate.metadata))
            }
        },
        Route(
            .delete, "/v1/aggregates/{ref}", "Delete a group of nodes, which stay", .aggregateDelete,
            replies: [(204, .empty)], isConditional: true
        ) { call in
            try await call.write { transaction in
                let commands = try call.commands(in: transaction)
                let aggregate = try commands.aggregate(call.parameter("ref"))
                try call.checkMatch(try AggregateResource.encode(aggregate, in: transaction))
                _ = try commands.deleteAggregate(aggregate.id.description)
                return .noContent
            }
        },
        Route(
            .post, "/v1/aggregates/{ref}/nodes", "Put nodes into a group", .aggregateChange, body: .json(addition),
            replies: [(200, .one(AggregateResource.schema))]
        ) { call in
            try await changed(call) { commands, aggregate in
                try commands.addNodes(named(call), to: aggregate.id.description)
            }
        },
        Route(
            .delete, "/v1/aggregates/{ref}/nodes/{node}", "Take a node out of a group", .aggregateChange,
            replies: [(200, .one(AggregateResource.schema))]
        ) { call in
            try await changed(call) { commands, aggregate in
                try commands.removeNode(call.parameter("node"), from: aggregate.id.description)
            }
        },
    ]

    private static func named(_ call: Call) -> [String] { call.body["nodes"]?.array?.compactMap(\.string) ?? [] }

    private static func changed(
        _ call: Call, _ change: @escaping @Sendable (Commands, Aggregate) throws -> Aggregate
    ) async throws -> Answer {
        try await call.write { transaction in
            let commands = try call.commands(in: transaction)
            let aggregate = try commands.aggregate(call.parameter("ref"))
            try call.checkMatch(try AggregateResource.encode(aggregate, in: transaction))
            let after = try change(commands, aggregate)
            return .document(try AggregateResource.encode(after, in: transaction), tag: true)
        }
    }
}
