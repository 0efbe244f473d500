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

    static let change = ObjectSchema(
        "FlavorChange",
        [
            .init("name", .name()), .init("vcpus", .integer(1...1024), "only while no instance has the flavor"),
            .init("ram_mib", .integer(16...67_108_864), "only while no instance has the flavor"),
            .init("disk_gib", .integer(0...1_048_576), "only while no instance has the flavor"),
            .init(
                "properties", .propertiesPatch,
                "merged with what is there; only while no instance has the flavor"),
        ])

    static let routes: [Route] = [
        Route(
            .get, "/v1/flavors", "List flavors", .flavorRead, query: Listings.flavors.query,
            replies: [(200, .list(FlavorResource.schema))]
        ) { call in
            let request = try Listings.flavors.request(call)
            return try await call.read { transaction in
                try request.document(
                    transaction.flavors.list(request.page(call.commands(in: transaction))),
                    encode: FlavorResource.encode)
            }
        },
        Route(
            .post, "/v1/flavors", "Create a flavor", .flavorCreate, body: .json(creation),
            replies: [(201, .one(FlavorResource.schema))], leadsTo: "/v1/flavors/{ref}"
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
            .patch, "/v1/flavors/{ref}", "Rename a flavor, or change one that no instance has", .flavorChange,
            body: .json(change), replies: [(200, .one(FlavorResource.schema))], isConditional: true
        ) { call in
            try await call.write { transaction in
                let commands = try call.commands(in: transaction)
                var flavor = try commands.flavor(call.parameter("ref"))
                try call.checkMatch(FlavorResource.encode(flavor))
                let body = call.body
                flavor.name = body["name"]?.string ?? flavor.name
                flavor.vcpus = body.count("vcpus") ?? flavor.vcpus
                flavor.ramMiB = body.count("ram_mib") ?? flavor.ramMiB
                flavor.diskGiB = body.count("disk_gib") ?? flavor.diskGiB
                flavor.properties = body.patched("properties", flavor.properties) ?? flavor.properties
                return .document(FlavorResource.encode(try commands.updateFlavor(flavor)), tag: true)
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
