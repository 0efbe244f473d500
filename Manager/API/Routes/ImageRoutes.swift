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
                "format", .nullable(.choice(["raw", "qcow2", "vmdk", "vhd", "vdi", "iso"])),
                "found out from the file if not given"),
            .init("size_bytes", .nullable(.integer(1...Limits.imageBytes)), "of the file to come, if known"),
            .init("checksum", .nullable(checksum), "SHA-256 that the file must have"),
            .init("url", .nullable(address), "where the manager fetches the file from, instead of its being sent"),
            .init(
                "from_instance", .nullable(.reference),
                "ID or name of an instance of whose disk the image is made, instead of a file's being sent: such an image is "
                    + "private if visibility is not given, and takes over what is not given of properties and min_ram_mib"
            ),
            .init("min_disk_gib", .integer(0...1_048_576)), .init("min_ram_mib", .integer(0...67_108_864)),
            .init("properties", .properties),
            .init("visibility", visibility, "public if not given by a superuser; a user's images are private"),
            .init("protected", .boolean, "cannot be deleted until this is unset"),
        ])
    private static let checksum = Schema.string(
        TextRule(
            lengths: 71...71, pattern: "^sha256:[0-9A-Fa-f]{64}$", wanted: "must be sha256: and 64 hexadecimal digits",
            allows: { $0.hasPrefix("sha256:") && ContentDigest(hex: $0.dropFirst(7)) != nil }))
    private static let address = Schema.string(TextRule(lengths: 8...ImageAddress.maximumLength, format: "uri"))
    static let change = ObjectSchema(
        "ImageChange",
        [
            .init("name", .name(maximum: 128)),
            .init("properties", .propertiesPatch, "merged with what is there"), .init("visibility", visibility),
            .init("min_disk_gib", .integer(0...1_048_576)), .init("min_ram_mib", .integer(0...67_108_864)),
            .init("protected", .boolean, "cannot be deleted until this is unset"),
        ])
    static let replacement = ObjectSchema(
        "ImageReplacement",
        [.init("image", .reference, required: true, "the image that takes the name, visibility and shares")])
    static let prefill = ObjectSchema(
        "PrefillRequest", [.init("nodes", .array(.reference, minimum: 1, maximum: 10_000), required: true)])

    static let routes: [Route] = [
        Route(
            .get, "/v1/images", "List images that I may use", .imageRead, query: Listings.images.query,
            replies: [(200, .list(ImageResource.schema))]
        ) { call in
            let (scope, viewer) = (try call.scope(.imageRead), try call.actor.user)
            let request = try Listings.images.request(call)
            return try await call.read { transaction in
                let names = Names(transaction)
                let images = try transaction.images.list(
                    scope, offeredTo: viewer, only: .ownOrOffered, request.page(call.commands(in: transaction)))
                return try request.document(images) {
                    try ImageResource.encode($0, names, in: transaction, for: call.actor)
                }
            }
        },
        Route(
            .post, "/v1/images", "Announce an image, whose file is then sent", .imageCreate, body: .json(creation),
            replies: [(201, .one(ImageResource.schema)), (202, .one(ImageResource.schema))],
            leadsTo: "/v1/images/{ref}", handler: create),
        Route(.get, "/v1/images/{ref}", "Show an image", .imageRead, replies: [(200, .one(ImageResource.schema))]) {
            call in
            try await call.read { transaction in
                let image = try call.commands(in: transaction).image(call.parameter("ref"))
                return call.resource(
                    try ImageResource.encode(image, Names(transaction), in: transaction, for: call.actor))
            }
        },
        Route(
            .put, "/v1/images/{ref}/file", "Send an image's file", .imageUpload, body: .stream,
            replies: [(202, .one(ImageResource.schema))], leadsTo: "/v1/images/{ref}", handler: ImageUploadRoute.put),
        Route(
            .patch, "/v1/images/{ref}/file", "Send the rest of an image's file, or a part of it", .imageUpload,
            body: .stream, replies: [(202, .one(ImageResource.schema)), (204, .empty)], leadsTo: "/v1/images/{ref}",
            headers: [
                .init("Upload-Offset", "Where the part belongs: as many bytes as have arrived."),
                .init(
                    "Upload-Complete", "?1 where the file ends with this part, which is so if it is not given; else ?0."
                ),
                .init("Upload-Length", "Bytes of the whole file, where they are known."),
            ], handler: ImageUploadRoute.patch),
        Route(
            .get, "/v1/images/{ref}/file", "Tell how much of an image's file has arrived", .imageUpload,
            replies: [(200, .one(ImageUploadRoute.standing))], handler: ImageUploadRoute.standing),
        Route(
            .patch, "/v1/images/{ref}", "Change an image", .imageChange, body: .json(change),
            replies: [(200, .one(ImageResource.schema))], isConditional: true, handler: update),
        Route(
            .delete, "/v1/images/{ref}", "Delete an image that no instance depends on", .imageDelete,
            replies: [(204, .empty)], isConditional: true
        ) { call in
            let image = try await call.read { try call.commands(in: $0).image(call.parameter("ref")).id }
            let answer = try await call.write { transaction in
                let commands = try call.commands(in: transaction)
                let image = try commands.image("\(image)")
                try call.checkMatch(
                    try ImageResource.encode(image, Names(transaction), in: transaction, for: call.actor))
                _ = try commands.deleteImage(image.id.description)
                return .noContent
            }
            await call.services.uploads.discard(image)
            return answer
        },
        change(.post, "/v1/images/{ref}/deactivate", "Offer an image to nobody any more; what runs goes on") {
            try $0.deactivateImage($1.parameter("ref"))
        },
        change(.post, "/v1/images/{ref}/reactivate", "Offer an image again") {
            try $0.reactivateImage($1.parameter("ref"))
        },
        change(.put, "/v1/images/{ref}/shares/{account}", "Let the users of an account use an image") {
            try $0.shareImage($1.parameter("ref"), with: $1.parameter("account"))
        },
        change(.delete, "/v1/images/{ref}/shares/{account}", "Share an image with an account no more") {
            try $0.unshareImage($1.parameter("ref"), with: $1.parameter("account"))
        },
        change(
            .post, "/v1/images/{ref}/replace", "Give an image's name to another, and retire it",
            body: .json(replacement)
        ) {
            try $0.replaceImage($1.parameter("ref"), by: $1.body.text("image"))
        },
        Route(
            .post, "/v1/images/{ref}/prefill", "Cache an image on nodes, in one chain", .imagePrefill,
            body: .json(prefill),
            replies: [(202, .one(OperationResource.schema))], leadsTo: "/v1/operations/{id}"
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

    /// A change of one image in one step, which answers with it.
    private static func change(
        _ method: HTTPRequest.Method, _ pattern: String, _ summary: String, body: Route.Body = .none,
        _ perform: @escaping @Sendable (Commands, Call) throws -> Image
    ) -> Route {
        Route(method, pattern, summary, .imageChange, body: body, replies: [(200, .one(ImageResource.schema))]) {
            call in
            try await call.write { transaction in
                let image = try perform(try call.commands(in: transaction), call)
                return .document(
                    try ImageResource.encode(image, Names(transaction), in: transaction, for: call.actor), tag: true)
            }
        }
    }

    /// An image of an instance's disk, which its node copies from now on.
    private static func capture(_ call: Call, from instance: String) async throws -> Answer {
        let body = call.body
        let others = ["url", "size_bytes", "checksum"].filter { body[$0].map { $0 != .null } ?? false }
        guard others.isEmpty, [nil, "raw"].contains(body["format"]?.string) else {
            throw Refusal(
                .invalidRequest, "an image of an instance's disk has no file of its own, and is raw",
                fields: (others.isEmpty ? ["format"] : others).map {
                    .init(pointer: "/\($0)", detail: "does not go with from_instance")
                })
        }
        let visibility = try visibility(call)
        return try await call.write { transaction in
            let image = try call.commands(in: transaction).captureImage(
                name: body.text("name"), from: instance, minDiskGiB: body.count("min_disk_gib") ?? 0,
                minRAMMiB: body.count("min_ram_mib"), properties: body.texts("properties") ?? [:],
                visibility: visibility, isProtected: body["protected"]?.boolean ?? false,
                by: call.services.site.manager)
            return .accepted(
                try ImageResource.encode(image, Names(transaction), in: transaction, for: call.actor),
                operation: image.operation)
        }
    }

    @Sendable private static func create(_ call: Call) async throws -> Answer {
        let body = call.body
        if let instance = body["from_instance"]?.string { return try await capture(call, from: instance) }
        let visibility = try visibility(call) ?? (call.actor.rights.may(.imagePublish) ? .public : .private)
        let address = try body["url"]?.string.map { text throws(Refusal) in try ImageAddress(text) }
        let checksum = body["checksum"]?.string.flatMap { ContentDigest(hex: $0.dropFirst(7)) }
        let answer = try await call.write { transaction in
            let commands = try call.commands(in: transaction)
            var image = try commands.createImage(
                name: body.text("name"), format: body["format"]?.string, minDiskGiB: body.count("min_disk_gib") ?? 0,
                minRAMMiB: body.count("min_ram_mib") ?? 0, properties: body.texts("properties") ?? [:],
                visibility: visibility, isProtected: body["protected"]?.boolean ?? false,
                expectedBytes: body.count("size_bytes").map { Int64($0) }, expectedChecksum: checksum)
            if let address {
                image = try commands.beginFetch(
                    image.id, from: address.description, by: call.services.site.manager)
            }
            return .created(
                try ImageResource.encode(image, Names(transaction), in: transaction, for: call.actor),
                at: "/v1/images/\(image.id)")
        }
        if address != nil { call.services.uploads.fetchSoon() }
        return answer
    }

    @Sendable private static func update(_ call: Call) async throws -> Answer {
        let body = call.body
        let visibility = try visibility(call)
        return try await call.write { transaction in
            let commands = try call.commands(in: transaction)
            let names = Names(transaction)
            let image = try commands.image(call.parameter("ref"))
            try call.checkMatch(try ImageResource.encode(image, names, in: transaction, for: call.actor))
            let changed = try commands.updateImage(
                image.id.description, name: body["name"]?.string, visibility: visibility,
                properties: body.patched("properties", image.properties), minDiskGiB: body.count("min_disk_gib"),
                minRAMMiB: body.count("min_ram_mib"), isProtected: body["protected"]?.boolean)
            return .document(try ImageResource.encode(changed, names, in: transaction, for: call.actor), tag: true)
        }
    }

    /// The visibility asked for, where the caller may ask for it.
    private static func visibility(_ call: Call) throws -> Image.Visibility? {
        guard let wanted = call.body["visibility"]?.string.flatMap(Image.Visibility.init(rawValue:)) else { return nil }
        if wanted == .public, !(try call.actor.rights.may(.imagePublish)) {
            throw Refusal(
                .forbidden,
                "only a superuser may offer an image to everybody; leave 'visibility' out, or make it private",
                fields: [.init(pointer: "/visibility", detail: "must be private")])
        }
        return wanted
    }
}
