import ManagerModel
import ManagerStore
import ProtocolModel

/// Images as clients see them, with where in the fleet they are.
enum ImageResource {
    static let placement = ObjectSchema.answer(
        "ImageNode",
        [
            ("node", .text), ("state", .choice(["fetching", "paused", "held", "failed"])),
            ("priority", .choice(ImagePlacement.Priority.allCases.map(\.rawValue))), ("progress", .integer(0...100)),
            ("chunks_held", .count), ("chunks_total", .count), ("source", .text), ("updated_at", .time),
            ("reason", .text), ("pinned", .boolean), ("disk_bytes", .count), ("held_since", .nullable(.time)),
            ("last_used_at", .nullable(.time)), ("verified_at", .nullable(.time)), ("corrupt_chunks", .count),
        ])

    static let schema = ObjectSchema.answer(
        "Image",
        [
            ("id", .identifier), ("name", .text), ("status", .choice(Image.Status.allCases.map(\.rawValue))),
            ("status_reason", .text), ("progress", .integer(0...100)), ("format", .nullable(.text)),
            ("size_bytes", .nullable(.count)), ("upload_bytes", .nullable(.count)),
            ("expected_bytes", .nullable(.count)),
            ("checksum", .nullable(.text)), ("expected_checksum", .nullable(.text)),
            ("manifest_digest", .nullable(.text)), ("min_disk_gib", .count), ("min_ram_mib", .count),
            ("properties", .map(.text, maximum: 1000)),
            ("visibility", .choice(Image.Visibility.allCases.map(\.rawValue))),
            ("shared_with", .array(.text, maximum: 1000)), ("protected", .boolean),
            ("owner", .text), ("created_at", .time), ("operation_id", .nullable(.identifier)),
            ("nodes", .array(.object(placement), maximum: 100_000)),
        ])

    /// - Parameter viewer: whom an image is shared with is its owner's affair (P9).
    static func encode(
        _ image: Image, _ names: Names, in transaction: Transaction, for viewer: Actor
    ) throws -> JSONValue {
        let mayAdminister = viewer.rights[.imageChange] == .all || viewer.user == image.owner
        return [
            "id": .text(image.id), "name": .string(image.name), "status": .string(image.status.rawValue),
            "status_reason": .string(image.statusReason), "progress": .count(image.progress),
            "format": .text(image.format),
            "size_bytes": .count(image.sizeBytes), "upload_bytes": .count(image.uploadBytes),
            "expected_bytes": .count(image.expectedBytes),
            "checksum": .text(image.checksum.map { "sha256:\($0)" }),
            "expected_checksum": .text(image.expectedChecksum.map { "sha256:\($0)" }),
            "manifest_digest": .text(image.manifestDigest),
            "min_disk_gib": .count(image.minDiskGiB), "min_ram_mib": .count(image.minRAMMiB),
            "properties": .map(image.properties), "visibility": .string(image.visibility.rawValue),
            "shared_with": .texts(mayAdminister ? try transaction.images.accounts(of: image.id) : []),
            "protected": .boolean(image.isProtected), "owner": .string(try names.user(image.owner)),
            "created_at": .text(image.createdAt),
            "operation_id": .text(image.operation),
            "nodes": .array(try nodes(of: image.id, names, in: transaction)),
        ]
    }

    private static func nodes(of image: ImageID, _ names: Names, in transaction: Transaction) throws -> [JSONValue] {
        let placements = try transaction.images.placements(of: image).filter { $0.state != .removing }
        guard !placements.isEmpty else { return [] }
        let pins = try transaction.imageCopies.pins(of: image)
        let copies = try transaction.imageCopies.copies(of: image)
        return try placements.map { placement in
            .object(
                (try encode(placement, names).members ?? [])
                    + copyMembers(copies[placement.node], isPinned: pins.contains(placement.node)))
        }
    }

    /// What the node says of its copy.
    static func copyMembers(_ copy: ImageCopy?, isPinned: Bool) -> [JSONValue.Member] {
        [
            .init("pinned", .boolean(isPinned)), .init("disk_bytes", .count(copy?.diskBytes ?? 0)),
            .init("held_since", .text(copy?.heldSince)), .init("last_used_at", .text(copy?.lastUsedAt)),
            .init("verified_at", .text(copy?.verifiedAt)), .init("corrupt_chunks", .count(copy?.corruptChunks ?? 0)),
        ]
    }

    private static func encode(_ placement: ImagePlacement, _ names: Names) throws -> JSONValue {
        [
            "node": .string(try names.node(placement.node)),
            "state": .string(
                placement.isPaused && placement.state != .held ? "paused" : placement.state.rawValue),
            "priority": .string(placement.priority.rawValue),
            "progress": .count(progress(placement)), "chunks_held": .count(placement.chunksHeld),
            "chunks_total": .count(placement.chunksTotal),
            "source": .string(try placement.upstream.map { try names.node($0) } ?? "manager"),
            "updated_at": .text(placement.updatedAt), "reason": .string(placement.reason),
        ]
    }

    static func progress(_ placement: ImagePlacement) -> Int {
        if placement.state == .held { return 100 }
        guard placement.chunksTotal > 0 else { return 0 }
        return min(100, max(0, placement.chunksHeld * 100 / placement.chunksTotal))
    }
}
