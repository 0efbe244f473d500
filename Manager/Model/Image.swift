public import ProtocolModel

/// A disk image that instances start from.
public struct Image: Sendable, Equatable {
    public enum Status: String, Sendable, CaseIterable {
        /// `deactivated`: kept, and what runs from it goes on, but offered to nobody any more.
        case queued, saving, converting, active, error, deleted, deactivated
    }
    public enum Visibility: String, Sendable, CaseIterable {
        /// `shared`: with the accounts that the image is shared with.
        case `public`, `private`, shared
    }

    public var id: ImageID
    public var name: String
    public var owner: UserID
    public var visibility: Visibility
    public var status: Status
    public var statusReason: String
    /// 0 to 100.
    public var progress: Int
    /// The format declared at creation, or the detected one once imported: `raw`, `qcow2`, `vmdk`, `vhd`, `vdi`, `iso`.
    public var format: String?
    /// Of the raw image; known once imported.
    public var sizeBytes: Int64?
    /// Of the uploaded file, as far as it has arrived.
    public var uploadBytes: Int64?
    /// Of the uploaded file, where whoever announced it said so.
    public var expectedBytes: Int64?
    /// SHA-256 that the uploaded file is to have.
    public var expectedChecksum: ContentDigest?
    /// SHA-256 of the uploaded file.
    public var checksum: ContentDigest?
    /// The image's identity in the fleet (DESIGN §6).
    public var manifestDigest: ContentDigest?
    public var minDiskGiB: Int
    public var minRAMMiB: Int
    public var properties: [String: String]
    /// May not be deleted until this is unset.
    public var isProtected: Bool
    public var operation: OperationID?
    public var createdAt: Timestamp
    public var updatedAt: Timestamp

    public init(
        id: ImageID, name: String, owner: UserID, visibility: Visibility, status: Status = .queued,
        statusReason: String = "waiting for its file", progress: Int = 0, format: String? = nil,
        sizeBytes: Int64? = nil,
        uploadBytes: Int64? = nil, checksum: ContentDigest? = nil, manifestDigest: ContentDigest? = nil,
        minDiskGiB: Int = 0, minRAMMiB: Int = 0, properties: [String: String] = [:], isProtected: Bool = false,
        expectedBytes: Int64? = nil, expectedChecksum: ContentDigest? = nil, operation: OperationID? = nil,
        createdAt: Timestamp, updatedAt: Timestamp
    ) {
        self.id = id
        self.name = name
        self.owner = owner
        self.visibility = visibility
        self.status = status
        self.statusReason = statusReason
        self.progress = progress
        self.format = format
        self.sizeBytes = sizeBytes
        self.uploadBytes = uploadBytes
        self.checksum = checksum
        self.manifestDigest = manifestDigest
        self.minDiskGiB = minDiskGiB
        self.minRAMMiB = minRAMMiB
        self.properties = properties
        self.isProtected = isProtected
        self.expectedBytes = expectedBytes
        self.expectedChecksum = expectedChecksum
        self.operation = operation
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}

/// An image on a node: wanted there, on its way, or held.
public struct ImagePlacement: Sendable, Equatable {
    public enum State: String, Sendable, CaseIterable {
        case fetching, held, failed, removing
    }
    /// What the node's copy is for.
    public enum Priority: String, Sendable, CaseIterable {
        /// To be there beforehand.
        case prefill
        /// An instance waits for it.
        case launch
    }

    public var image: ImageID
    public var node: NodeID
    public var state: State
    /// Whom the node pulls from; `nil`: the manager.
    public var upstream: NodeID?
    public var chunksHeld: Int
    public var chunksTotal: Int
    public var bytesReceived: Int64
    public var reason: String
    /// The prefill that asked for it, if one did.
    public var operation: OperationID?
    public var priority: Priority
    /// Its transfer stands still until somebody wants it to go on; what came is kept.
    public var isPaused: Bool
    public var requestedAt: Timestamp
    public var updatedAt: Timestamp

    public init(
        image: ImageID, node: NodeID, state: State = .fetching, upstream: NodeID?, chunksHeld: Int = 0,
        chunksTotal: Int = 0, bytesReceived: Int64 = 0, reason: String = "", operation: OperationID? = nil,
        priority: Priority = .prefill, isPaused: Bool = false, requestedAt: Timestamp, updatedAt: Timestamp
    ) {
        self.image = image
        self.node = node
        self.state = state
        self.upstream = upstream
        self.chunksHeld = chunksHeld
        self.chunksTotal = chunksTotal
        self.bytesReceived = bytesReceived
        self.reason = reason
        self.operation = operation
        self.priority = priority
        self.isPaused = isPaused
        self.requestedAt = requestedAt
        self.updatedAt = updatedAt
    }
}
