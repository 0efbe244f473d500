public import ProtocolModel

/// Keeps the chains of images whole while they run: who is dead, stalled, lying or slow gets out of the way, and nobody
/// waits behind it.
///
/// A value: events go in, effects come out, time is a parameter. It remembers nothing that the record and the nodes'
/// reports do not say again, so that a new leader goes on where the last one was: it takes the links as they are recorded.
///
///     sound ──silent, disconnected──▶ out       its successors take its upstream; it goes to the end of a chain
///     sound ──slow for a while──────▶ slow      the same; what it pulls there takes nothing from others
///     sound ──sent wrong data───────▶ barred    the same, and nobody's upstream for ten minutes
///     out ────heard again───────────▶ sound     at the end, from the chunks that it holds
public struct ChainMachine: Sendable {
    public struct Settings: Sendable {
        /// A node that receives reports twice a second; one that is not heard for so long is missed.
        public var silence = Duration.milliseconds(1500)
        /// How long less than `ChainPlanner.slowShare` of the median is borne.
        public var slowFor = Duration.seconds(3)
        /// Below this share nobody can take it for a passing weakness.
        public var crawlShare = 0.4
        public var crawlFor = Duration.milliseconds(250)
        /// What is measured so soon after a change says nothing of a node.
        public var settling = Duration.milliseconds(1000)
        public var barredFor = Duration.seconds(600)
        /// How long nodes have to come back after this manager began to lead.
        public var returning = Duration.seconds(20)

        public init() {}
    }

    public enum Event: Sendable {
        /// What the record says of an image: everybody that receives it, and those who hold it.
        case recorded(ImageID, [ChainMember])
        case progressed(ImageID, NodeID, ChainProgress)
        /// A node's session opened, or ended.
        case connected(NodeID)
        case disconnected(NodeID)
        /// These are not listened to right now: their silence is the manager's.
        case heldUp(Set<NodeID>)
        /// A few times a second.
        case ticked
        /// A plan did not reach the record: what is recorded is taken anew.
        case notRecorded(ImageID)
    }

    public enum Effect: Sendable, Hashable {
        /// Record these links, and tell all whom they concern.
        case relink(ImageID, [Relink])
    }

    /// A node that is to pull from another one than before.
    public struct Relink: Sendable, Hashable {
        public var node: NodeID
        /// `nil`: the manager.
        public var upstream: NodeID?
        public var cause: Cause
        /// On whose account.
        public var culprit: NodeID?

        public init(node: NodeID, upstream: NodeID?, cause: Cause, culprit: NodeID?) {
            self.node = node
            self.upstream = upstream
            self.cause = cause
            self.culprit = culprit
        }
    }

    public enum Cause: Sendable, Hashable {
        case silent, disconnected, slow, paused, removed, joined
        case complaint(SourceFailure)
    }

    let settings: Settings
    private var chains: [ImageID: Chain] = [:]

    public init(settings: Settings = Settings()) { self.settings = settings }

    /// Images that are on their way to anybody.
    public var activeImages: Set<ImageID> { Set(chains.keys) }

    /// The upstream of each node of an image as it is planned.
    public func upstreams(of image: ImageID) -> [NodeID: NodeID?] {
        chains[image]?.links.mapValues(\.member.upstream) ?? [:]
    }

    /// Whether a node gets the image right now.
    public func isReceiving(_ image: ImageID, _ node: NodeID) -> Bool {
        chains[image]?.links[node]?.member.state == .fetching
    }

    /// The most that a node was seen to receive of an image, in bytes a second, over a second or two.
    public func pace(of node: NodeID, _ image: ImageID) -> Int64? { chains[image]?.links[node]?.intake.best }

    /// Takes in what happened and says what is to change.
    public mutating func handle(_ event: Event, at now: Uptime) -> [Effect] {
        switch event {
        case .recorded(let image, let members):
            return change(image, anew: true) { $0.take(members, at: now) }
        case .progressed(let image, let node, let progress):
            return change(image) { $0.hear(node, progress, at: now) }
        case .connected(let node):
            for image in chains.keys { chains[image]?.connect(node, at: now) }
            return []
        case .disconnected(let node): return changeAll { $0.disconnect(node, at: now) }
        case .heldUp(let nodes):
            for image in chains.keys { chains[image]?.excuse(nodes, at: now) }
            return []
        case .ticked: return changeAll { $0.tick(at: now) }
        case .notRecorded(let image):
            chains[image] = nil
            return []
        }
    }

    private mutating func changeAll(_ body: (inout Chain) -> Void) -> [Effect] {
        chains.keys.sorted().flatMap { change($0, body) }
    }

    private mutating func change(_ image: ImageID, anew: Bool = false, _ body: (inout Chain) -> Void) -> [Effect] {
        // Taken out while it changes, so that it is not copied.
        guard var chain = chains.removeValue(forKey: image) ?? (anew ? Chain(settings: settings) : nil) else {
            return []
        }
        body(&chain)
        let relinks = chain.takeRelinks()
        if chain.isActive { chains[image] = chain }
        return relinks.isEmpty ? [] : [.relink(image, relinks)]
    }
}
