import ChunkPlane
import ProtocolModel
import ProtocolTransfer

/// What the threads of one fetch share: the decisions, and what each connection is to do next.
struct FetchState: Sendable {
    enum Order: Sendable {
        case manifest
        case chunk(Int)
    }

    /// A connection that is to be made on a thread of its own.
    struct Opening: Sendable {
        var lane: LaneID
        var source: ChunkSource
        var interrupt: TransferInterrupt
    }

    /// What an event calls for outside of the state.
    struct Actions: Sendable {
        var openings: [Opening] = []
        var interrupts: [TransferInterrupt] = []
    }

    var assignment: ImageAssignmentValue
    var isStopped = false
    /// `nil`: not begun.
    var core: FetchCore?
    var isFinished = false
    /// A report is due at once.
    var hasNews = false
    var failure: ImageCacheError?
    /// What the last source said that gave nothing; forgotten when something came.
    var reason = ""
    /// As it travelled, in this process's life.
    var bytesReceived: Int64 = 0
    /// Of the connections that are wanted.
    private var orders: [LaneID: [Order]] = [:]
    private var interrupts: [LaneID: TransferInterrupt] = [:]
    /// Threads that have not ended.
    var threads = 0

    init(assignment: ImageAssignmentValue) { self.assignment = assignment }

    mutating func begin(held: ChunkBitmap?, patience: FetchPatience, at now: Uptime) -> Actions {
        isFinished = false
        failure = nil
        core = FetchCore(sources: assignment.sources, held: held, patience: patience, at: now)
        return handle(.ticked, at: now)
    }

    mutating func handle(_ event: FetchCore.Event, at now: Uptime) -> Actions {
        var actions = Actions()
        for effect in core?.handle(event, at: now) ?? [] {
            switch effect {
            case .connect(let lane, let source):
                let interrupt = TransferInterrupt()
                orders[lane] = []
                interrupts[lane] = interrupt
                actions.openings.append(Opening(lane: lane, source: source, interrupt: interrupt))
            case .askManifest(let lane): orders[lane]?.append(.manifest)
            case .ask(let lane, let index): orders[lane]?.append(.chunk(index))
            case .close(let lane):
                orders[lane] = nil
                if let interrupt = interrupts.removeValue(forKey: lane) { actions.interrupts.append(interrupt) }
            case .complain: hasNews = true
            case .finished: isFinished = true
            }
        }
        return actions
    }

    /// Ends all connections.
    mutating func end() -> [TransferInterrupt] {
        core = nil
        orders = [:]
        defer { interrupts = [:] }
        return Array(interrupts.values)
    }

    func isWanted(_ lane: LaneID) -> Bool { orders[lane] != nil }

    /// Whether there is something to do on a connection; `nil` where there is not.
    func nextOrder(_ lane: LaneID) -> Order? { orders[lane]?.first }

    /// Takes the next chunk to ask for.
    mutating func takeChunk(_ lane: LaneID) -> Int? {
        guard case .chunk(let index)? = orders[lane]?.first else { return nil }
        orders[lane]?.removeFirst()
        return index
    }

    mutating func takeManifest(_ lane: LaneID) {
        if case .manifest? = orders[lane]?.first { orders[lane]?.removeFirst() }
    }

    /// The connection is over, by itself or because it was closed.
    mutating func forget(_ lane: LaneID) {
        orders[lane] = nil
        interrupts[lane] = nil
    }
}
