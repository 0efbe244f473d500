public import ProtocolModel

/// What was wrong with a source, as the node that pulled from it saw it.
public enum SourceFailure: Hashable, Sendable, CaseIterable {
    /// Neither data nor a sign of life came.
    case silent
    /// It cannot be connected to, or the connection broke.
    case broken
    /// It sent what did not match its digest.
    case lied
    /// It is alive and does not give the image.
    case unavailable

    /// For the log and for people.
    public var sentence: String {
        switch self {
        case .silent: "gave no sign of life"
        case .broken: "could not be connected to, or the connection broke"
        case .lied: "sent data that did not match its digest"
        case .unavailable: "did not give the image"
        }
    }
}

/// A source that failed. Told for a few seconds, since only the newest report of an image is sure to arrive.
public struct SourceComplaint: Hashable, Sendable {
    /// `nil`: the manager.
    public var source: NodeID?
    public var failure: SourceFailure

    public init(source: NodeID?, failure: SourceFailure) {
        self.source = source
        self.failure = failure
    }
}

/// How far a node is with an image, a few times a second.
public struct ChainProgress: Hashable, Sendable {
    public var state: ChainMember.State
    public var chunksHeld: Int
    public var chunksTotal: Int
    /// Bytes a second while its source had what it asked for; `nil`: too little was seen to tell.
    public var throughput: Int64?
    /// All that it received of the image in its agent's life, in bytes as they travel.
    public var bytesReceived: Int64
    /// Whom it pulls from; `nil`: the manager, or nobody yet.
    public var source: NodeID?
    public var complaint: SourceComplaint?

    public init(
        state: ChainMember.State, chunksHeld: Int, chunksTotal: Int, throughput: Int64? = nil, bytesReceived: Int64 = 0,
        source: NodeID? = nil, complaint: SourceComplaint? = nil
    ) {
        self.state = state
        self.chunksHeld = chunksHeld
        self.chunksTotal = chunksTotal
        self.throughput = throughput
        self.bytesReceived = bytesReceived
        self.source = source
        self.complaint = complaint
    }
}
