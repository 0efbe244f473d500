import HTTPTypes
import Hummingbird
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import NIOCore
import ProtocolModel

enum ImageRoutes {
    private static let visibility = Schema.choice(Image.Visibility.allCases.map(\.rawValue))
    static let creation = ObjectSchema(
        "ImageCreation",
        [
            .init("name", .name(maximum: 128), required: true),
            .init(
                "format", .nullable(.choice(["raw", "qcow2", "vmdk", "vhd", "iso"])),
                "found out from the file if not given"),
            .init("size_bytes", .nullable(.integer(1...Limits.imageBytes)), "of the file to come, if known"),
            .init("min_disk_gib", .integer(0...1_048_576)), .init("min_ram_mib", .integer(0...67_108_864)),
            .init("properties", .properties),
            .init("visibility", visibility, "public if not given by a superuser; a user's images are private"),
        ])
    static let change = ObjectSchema(
        "ImageChange",
        [
            .init("name", .name(maximum: 128)), .init("properties", .properties), .init("visibility", visibility),
            .init("min_disk_gib", .integer(0...1_048_576)), .init("min_ram_mib", .integer(0...67_108_864)),
        ])
    static let prefill = ObjectSchema(
        "PrefillRequest", [.init("nodes", .array(.reference, maximum: 10_000), required: true)])

    static let routes: [Route] = [
        Route(
            .get, "/v1/images", "List images that I may use", .imageRead, query: QueryParameter.page,
            replies: [(200, .list(ImageResource.schema))]
        ) { call in
            let scope = try call.scope(.imageRead)
            let request = try PageRequest(call.query, list: "images")
            return try await call.read { transaction in
                let names = Names(transaction)
                let images = try transaction.images.list(visibleTo: scope, request.page)
                return try request.document(images, place: { $0.id.description }) {
                    try ImageResource.encode($0, names, in: transaction)
                }
            }
        },
        Route(
            .post, "/v1/images", "Announce an image, whose file is then sent", .imageCreate, body: .json(creation),
            replies: [(201, .one(ImageResource.schema))], handler: create),
        Route(.get, "/v1/images/{ref}", "Show an image", .imageRead, replies: [(200, .one(ImageResource.schema))]) {
            call in
            try await call.read { transaction in
                let image = try call.commands(in: transaction).image(call.parameter("ref"))
                return call.resource(try ImageResource.encode(image, Names(transaction), in: transaction))
            }
        },
        Route(
            .put, "/v1/images/{ref}/file", "Send an image's file", .imageUpload, body: .stream,
            replies: [(202, .one(ImageResource.schema))], isConditional: false, handler: ImageUploadRoute.upload),
        Route(
            .patch, "/v1/images/{ref}", "Change an image", .imageChange, body: .json(change),
            replies: [(200, .one(ImageResource.schema))], isConditional: true, handler: update),
        Route(
            .delete, "/v1/images/{ref}", "Delete an image that no instance depends on", .imageDelete,
            replies: [(204, .empty)], isConditional: true
        ) { call in
            try await call.write { transaction in
                let commands = try call.commands(in: transaction)
                let image = try commands.image(call.parameter("ref"))
                try call.checkMatch(try ImageResource.encode(image, Names(transaction), in: transaction))
                _ = try commands.deleteImage(image.id.description)
                return .noContent
            }
        },
        Route(
            .post, "/v1/images/{ref}/prefill", "Cache an image on nodes, in one chain", .imagePrefill,
            body: .json(prefill),
            replies: [(202, .one(OperationResource.schema))]
        ) { call in
            try await call.write { transaction in
                let nodes = call.body["nodes"]?.array?.compactMap(\.string) ?? []
                guard !nodes.isEmpty else {
                    throw Refusal(
                        .invalidRequest, "nodes is empty; name at least one",
                        fields: [.init(pointer: "/nodes", detail: "must have at least one entry")])
                }
                let operation = try call.commands(in: transaction).prefill(call.parameter("ref"), on: nodes)
                return .accepted(try OperationResource.encode(operation, Names(transaction)), operation: operation.id)
            }
        },
    ]

    @Sendable private static func create(_ call: Call) async throws -> Answer {
        let body = call.body
        let visibility = try visibility(call) ?? (Access.mayEver(call.actor.role, .imagePublish) ? .public : .private)
        return try await call.write { transaction in
            let image = try call.commands(in: transaction).createImage(
                name: body.text("name"), format: body["format"]?.string, minDiskGiB: body.count("min_disk_gib") ?? 0,
                minRAMMiB: body.count("min_ram_mib") ?? 0, properties: body.texts("properties") ?? [:],
                visibility: visibility)
            return .created(
                try ImageResource.encode(image, Names(transaction), in: transaction), at: "/v1/images/\(image.id)")
        }
    }

    @Sendable private static func update(_ call: Call) async throws -> Answer {
        let body = call.body
        let visibility = try visibility(call)
        return try await call.write { transaction in
            let commands = try call.commands(in: transaction)
            let names = Names(transaction)
            let image = try commands.image(call.parameter("ref"))
            try call.checkMatch(try ImageResource.encode(image, names, in: transaction))
            let changed = try commands.updateImage(
                image.id.description, name: body["name"]?.string, visibility: visibility,
                properties: body.texts("properties"), minDiskGiB: body.count("min_disk_gib"),
                minRAMMiB: body.count("min_ram_mib"))
            return .document(try ImageResource.encode(changed, names, in: transaction), tag: true)
        }
    }

    /// The visibility asked for, where the caller may ask for it.
    private static func visibility(_ call: Call) throws -> Image.Visibility? {
        guard let wanted = call.body["visibility"]?.string.flatMap(Image.Visibility.init(rawValue:)) else { return nil }
        if wanted == .public, !Access.mayEver(try call.actor.role, .imagePublish) {
            throw Refusal(
                .forbidden,
                "only a superuser may offer an image to everybody; leave 'visibility' out, or make it private",
                fields: [.init(pointer: "/visibility", detail: "must be private")])
        }
        return wanted
    }
}
