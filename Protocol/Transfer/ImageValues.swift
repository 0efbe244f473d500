import Foundation
public import ProtocolMessages
public import ProtocolModel

/// An image that a node should hold, from whom it pulls, and whom it may give it to.
public struct ImageAssignmentValue: Hashable, Sendable {
    public var image: ImageID
    public var manifestDigest: ContentDigest
    public var sizeBytes: Int64
    /// Best first.
    public var sources: [ChunkSource]
    public var serveTo: Set<NodeID>
    /// Never evicted.
    public var pinned: Bool
    /// Nothing is to be fetched; what came is kept and served.
    public var isPaused: Bool
    /// An instance waits for it.
    public var isForLaunch: Bool

    public init(
        image: ImageID, manifestDigest: ContentDigest, sizeBytes: Int64, sources: [ChunkSource], serveTo: Set<NodeID>,
        pinned: Bool = false, isPaused: Bool = false, isForLaunch: Bool = false
    ) {
        self.image = image
        self.manifestDigest = manifestDigest
        self.sizeBytes = sizeBytes
        self.sources = sources
        self.serveTo = serveTo
        self.pinned = pinned
        self.isPaused = isPaused
        self.isForLaunch = isForLaunch
    }

    /// Reads a message; `nil` where an identifier, a digest or a size makes no sense.
    public init?(_ message: Roost_V1_ImageAssignment) {
        guard let image = ImageID(bytes: message.imageID),
            let digest = ContentDigest(bytes: message.manifestDigest),
            message.sizeBytes >= 1, message.sizeBytes <= UInt64(Limits.imageBytes)
        else { return nil }
        var sources: [ChunkSource] = []
        for source in message.sources {
            guard source.nodeID.isEmpty || NodeID(bytes: source.nodeID) != nil else { return nil }
            sources.append(ChunkSource(node: NodeID(bytes: source.nodeID), address: source.address))
        }
        let receivers = message.serveTo.compactMap { NodeID(bytes: $0) }
        guard receivers.count == message.serveTo.count else { return nil }
        self.init(
            image: image, manifestDigest: digest, sizeBytes: Int64(message.sizeBytes), sources: sources,
            serveTo: Set(receivers), pinned: message.pinned, isPaused: message.paused, isForLaunch: message.launch)
    }

    /// The message; receivers in a fixed order, so that equal values make equal bytes.
    public var message: Roost_V1_ImageAssignment {
        var message = Roost_V1_ImageAssignment()
        message.imageID = Data(image.bytes)
        message.manifestDigest = Data(manifestDigest.bytes)
        message.sizeBytes = UInt64(clamping: sizeBytes)
        message.sources = sources.map { source in
            var value = Roost_V1_ChunkSource()
            value.nodeID = source.node.map { Data($0.bytes) } ?? Data()
            value.address = source.address
            return value
        }
        message.serveTo = serveTo.sorted().map { Data($0.bytes) }
        message.pinned = pinned
        message.paused = isPaused
        message.launch = isForLaunch
        return message
    }
}

/// How far a node is with an image.
public struct ImageStatusValue: Hashable, Sendable {
    public enum State: Hashable, Sendable { case fetching, held, failed, removed }

    public var image: ImageID
    public var state: State
    public var chunksHeld: Int
    public var chunksTotal: Int
    /// Bytes that came over the network in this process's life, as they travelled.
    public var bytesReceived: Int64
    /// The source in use; `nil` where none was needed yet.
    public var source: ChunkSource?
    /// Why it failed or waits; empty where nothing is wrong.
    public var reason: String
    /// Bytes a second while the source had what was asked for; `nil`: not known.
    public var throughput: Int64?
    /// A source that failed in the last seconds.
    public var complaint: SourceComplaint?

    /// What the host has of it; `nil`: not said.
    public var held: HeldImageValue?

    public init(
        image: ImageID, state: State, chunksHeld: Int = 0, chunksTotal: Int = 0, bytesReceived: Int64 = 0,
        source: ChunkSource? = nil, reason: String = "", throughput: Int64? = nil, complaint: SourceComplaint? = nil,
        held: HeldImageValue? = nil
    ) {
        self.image = image
        self.state = state
        self.chunksHeld = chunksHeld
        self.chunksTotal = chunksTotal
        self.bytesReceived = bytesReceived
        self.source = source
        self.reason = reason
        self.throughput = throughput
        self.complaint = complaint
        self.held = held
    }

    public var message: Roost_V1_ImageStatus {
        var message = Roost_V1_ImageStatus()
        message.imageID = Data(image.bytes)
        message.state =
            switch state {
            case .fetching: .fetching
            case .held: .held
            case .failed: .failed
            case .removed: .removed
            }
        message.chunksHeld = UInt32(clamping: chunksHeld)
        message.chunksTotal = UInt32(clamping: chunksTotal)
        message.bytesReceived = UInt64(clamping: bytesReceived)
        message.sourceNodeID = source?.node.map { Data($0.bytes) } ?? Data()
        message.reason = reason
        message.bytesPerSecond = UInt64(clamping: throughput ?? 0)
        if let complaint {
            message.failure =
                switch complaint.failure {
                case .silent: .silent
                case .broken: .broken
                case .lied: .lied
                case .unavailable: .unavailable
                }
            message.failedSourceNodeID = complaint.source.map { Data($0.bytes) } ?? Data()
        }
        if let held { message.held = held.message }
        return message
    }
}

/// What a node holds of an image.
public struct HeldImageValue: Hashable, Sendable {
    public var image: ImageID
    public var manifestDigest: ContentDigest
    public var chunksHeld: Int
    public var chunksTotal: Int
    /// That the copy takes on the disk.
    public var diskBytes: Int64 = 0
    /// `nil`: it is not complete.
    public var heldSince: Timestamp?
    /// A disk was made from it, or a peer served.
    public var lastUsed: Timestamp?
    /// When all of it was last read and compared with the manifest.
    public var verifiedAt: Timestamp?
    /// Found on the disk since the copy began.
    public var corruptChunks = 0

    public init(image: ImageID, manifestDigest: ContentDigest, chunksHeld: Int, chunksTotal: Int) {
        self.image = image
        self.manifestDigest = manifestDigest
        self.chunksHeld = chunksHeld
        self.chunksTotal = chunksTotal
    }

    public var message: Roost_V1_HeldImage {
        var message = Roost_V1_HeldImage()
        message.imageID = Data(image.bytes)
        message.manifestDigest = Data(manifestDigest.bytes)
        message.chunksHeld = UInt32(clamping: chunksHeld)
        message.chunksTotal = UInt32(clamping: chunksTotal)
        message.diskBytes = UInt64(clamping: diskBytes)
        message.heldSinceMs = heldSince?.milliseconds ?? 0
        message.lastUsedMs = lastUsed?.milliseconds ?? 0
        message.verifiedMs = verifiedAt?.milliseconds ?? 0
        message.corruptChunks = UInt32(clamping: corruptChunks)
        return message
    }
}
