import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

/// Nodes' copies of images: what is where, and what operators do with it.
enum ImageCacheRoutes {
    static let nodes = ObjectSchema(
        "ImageNodes", [.init("nodes", .array(.reference, minimum: 1, maximum: 10_000), required: true)])

    static let copy = ObjectSchema.answer(
        "NodeImageCopy",
        [
            ("image", .text), ("image_id", .identifier),
            ("state", .choice(ImagePlacement.State.allCases.map(\.rawValue))), ("progress", .integer(0...100)),
            ("chunks_held", .count), ("chunks_total", .count), ("size_bytes", .nullable(.count)),
            ("instances", .count), ("source", .text), ("updated_at", .time), ("reason", .text), ("pinned", .boolean),
            ("disk_bytes", .count), ("held_since", .nullable(.time)), ("last_used_at", .nullable(.time)),
            ("verified_at", .nullable(.time)), ("corrupt_chunks", .count),
        ])

    static let routes: [Route] = [
        Route(
            .get, "/v1/nodes/{ref}/images", "List the images in a node's cache", .nodeRead,
            query: Listings.nodeImages.query,
            replies: [(200, .list(copy))], handler: list),
        action("pin", "Keep an image on nodes whatever room is needed there") { commands, image, nodes in
            try commands.pinImage(image, on: nodes, pinned: true)
        },
        action("unpin", "Let an image go from nodes when room is needed there") { commands, image, nodes in
            try commands.pinImage(image, on: nodes, pinned: false)
        },
        action("evict", "Remove an image from nodes, where no instance depends on it") { commands, image, nodes in
            try commands.evictImage(image, from: nodes)
        },
    ]

    /// The image is the answer, as it is then.
    private static func action(
        _ verb: String, _ summary: String,
        _ perform: @escaping @Sendable (Commands, String, [String]) throws -> Image
    ) -> Route {
        Route(
            .post, "/v1/images/{ref}/\(verb)", summary, .imagePrefill, body: .json(nodes),
            replies: [(200, .one(ImageResource.schema))]
        ) { call in
            try await call.write { transaction in
                let nodes = call.body["nodes"]?.array?.compactMap(\.string) ?? []
                guard !nodes.isEmpty else {
                    throw Refusal(
                        .invalidRequest, "nodes is empty; name at least one",
                        fields: [.init(pointer: "/nodes", detail: "must have at least one entry")])
                }
                let image = try perform(try call.commands(in: transaction), call.parameter("ref"), nodes)
                return .document(
                    try ImageResource.encode(image, Names(transaction), in: transaction, for: call.actor))
            }
        }
    }

    @Sendable private static func list(_ call: Call) async throws -> Answer {
        let request = try Listings.nodeImages.request(call)
        return try await call.read { transaction in
            let node = try call.commands(in: transaction).node(call.parameter("ref"))
            let pins = try transaction.imageCopies.pins(on: node.id)
            let copies = try transaction.imageCopies.copies(on: node.id)
            let images = try transaction.images.placements(on: node.id).map { placement in
                NodeImage(
                    placement: placement, image: try transaction.images.find(placement.image),
                    copy: copies[placement.image], isPinned: pins.contains(placement.image))
            }
            let names = Names(transaction)
            return try request.document(request.page(of: images)) { try encode($0, names, in: transaction) }
        }
    }

    private static func encode(_ image: NodeImage, _ names: Names, in transaction: Transaction) throws -> JSONValue {
        let placement = image.placement
        let members: JSONValue = [
            "image": .string(image.name), "image_id": .text(placement.image),
            "state": .string(placement.state.rawValue), "progress": .count(ImageResource.progress(placement)),
            "chunks_held": .count(placement.chunksHeld), "chunks_total": .count(placement.chunksTotal),
            "size_bytes": .count(image.image?.sizeBytes),
            "instances": .count(try transaction.instances.list(of: placement.image, on: placement.node).count),
            "source": .string(try placement.upstream.map { try names.node($0) } ?? "manager"),
            "updated_at": .text(placement.updatedAt), "reason": .string(placement.reason),
        ]
        return .object((members.members ?? []) + ImageResource.copyMembers(image.copy, isPinned: image.isPinned))
    }
}

/// An image in a node's cache.
struct NodeImage: Sendable {
    var placement: ImagePlacement
    var image: Image?
    /// What the node says of it.
    var copy: ImageCopy?
    var isPinned: Bool

    var name: String { image?.name ?? "\(placement.image)" }
}
