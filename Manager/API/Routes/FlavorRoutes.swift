import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

enum FlavorRoutes {
    static let creation = ObjectSchema(
        "FlavorCreation",
        [
            .init("name", .name(), required: true), .init("vcpus", .integer(1...1024), required: true),
            .init("ram_mib", .integer(16...67_108_864), required: true),
            .init("disk_gib", .integer(0...1_048_576), required: true), .init("properties", .properties),
        ])

    static let routes: [Route] = [
        Route(
            .get, "/v1/flavors", "List flavors", .flavorRead, query: QueryParameter.page,
            replies: [(200, .list(FlavorResource.schema))]
        ) { call in
            let request = try PageRequest(call.query, list: "flavors")
            return try await call.read { transaction in
                request.document(
                    try transaction.flavors.list(request.page), place: { $0.id.description },
                    encode: FlavorResource.encode)
            }
        },
        Route(
            .post, "/v1/flavors", "Create a flavor", .flavorCreate, body: .json(creation),
            replies: [(201, .one(FlavorResource.schema))]
        ) { call in
            try await call.write { transaction in
                let body = call.body
                let flavor = try call.commands(in: transaction).createFlavor(
                    name: body.text("name"), vcpus: body.count("vcpus") ?? 0, ramMiB: body.count("ram_mib") ?? 0,
                    diskGiB: body.count("disk_gib") ?? 0, properties: body.texts("properties") ?? [:])
                return .created(FlavorResource.encode(flavor), at: "/v1/flavors/\(flavor.id)")
            }
        },
        Route(
            .get, "/v1/flavors/{ref}", "Show a flavor", .flavorRead, replies: [(200, .one(FlavorResource.schema))]
        ) { call in
            try await call.read { transaction in
                call.resource(FlavorResource.encode(try call.commands(in: transaction).flavor(call.parameter("ref"))))
            }
        },
        Route(
            .delete, "/v1/flavors/{ref}", "Delete a flavor that no instance has", .flavorDelete,
            replies: [(204, .empty)],
            isConditional: true
        ) { call in
            try await call.write { transaction in
                let commands = try call.commands(in: transaction)
                let flavor = try commands.flavor(call.parameter("ref"))
                try call.checkMatch(FlavorResource.encode(flavor))
                _ = try commands.deleteFlavor(flavor.id.description)
                return .noContent
            }
        },
    ]
}
