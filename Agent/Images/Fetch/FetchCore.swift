import ProtocolModel
import ProtocolTransfer

/// Decides, for one image on its way to one host, whom to ask for which chunk. Pure: events go in, effects come out, time
/// is a parameter; `ImageFetch` has the connections, and the simulation of chains its own.
///
/// The first source of the assignment is the best, the next ones stand in. One that gives no sign of life for a second is
/// not waited for: the next one is asked for the same chunks, and whoever delivers first is used from there on. A new
/// assignment changes the source without a gap: the old one serves until the new one is connected. Chunks are asked for in
/// ascending order, as everybody in a chain does, so that the hosts behind find what they ask for next; each is asked for
/// once, unless its source failed.
struct FetchCore: Sendable {
    enum Refusal: Equatable, Sendable {
        /// On its way to the source; it was waited for there.
        case notYet
        /// The source does not hold or permit it yet, or no more.
        case unwilling
    }

    enum Event: Sendable {
        /// Whom to pull from, best first.
        case assigned([ChunkSource])
        /// What is held, as the manifest became known.
        case manifest(held: ChunkBitmap)
        case connected(LaneID)
        /// So many bytes of an answer came.
        case took(LaneID, bytes: Int)
        /// The source is alive and waits for a chunk itself, for so long already.
        case waiting(LaneID, Duration)
        /// An answer begins, after the source had to wait for the chunk.
        case answering(LaneID, waited: Duration)
        /// A chunk was verified and is held.
        case received(LaneID, Int)
        /// `nil`: the manifest.
        case refused(LaneID, Int?, Refusal)
        /// The connection is over, or there never was one.
        case ended(LaneID, SourceFailure)
        /// A few times a second.
        case ticked
    }

    enum Effect: Equatable, Sendable {
        /// Answered by `connected` or `ended`.
        case connect(LaneID, ChunkSource)
        case askManifest(LaneID)
        case ask(LaneID, Int)
        /// No event of it is of interest any more.
        case close(LaneID)
        /// To be told at once.
        case complain
        case finished
    }

    private(set) var lanes: [LaneID: FetchLane] = [:]
    private(set) var held: ChunkBitmap?
    private var sources: [ChunkSource] = []
    private var troubles: [ChunkSource: SourceTrouble] = [:]
    private var askedOf: [Int: LaneID] = [:]
    private var nextLane = 0
    /// Everything before it is held or asked for.
    private var frontier = 0
    private var meter: FetchMeter
    private var lastComplaint: (complaint: SourceComplaint, at: Uptime)?
    /// Of the last chunk that came.
    private var answerBytes = 0
    private var isFinished = false
    private let patience: FetchPatience
    private var effects: [Effect] = []

    /// - Parameter held: `nil` where the manifest is not known yet.
    init(sources: [ChunkSource], held: ChunkBitmap?, patience: FetchPatience = FetchPatience(), at now: Uptime) {
        self.sources = sources
        self.held = held
        self.patience = patience
        self.meter = FetchMeter(at: now)
    }

    // MARK: What others want to know

    /// The source in use.
    var source: ChunkSource? { lanes.values.first { $0.duty == .main }?.source }

    /// Bytes a second while the source had what was asked for.
    func throughput(at now: Uptime) -> Int64? { meter.rate(at: now) }

    /// A source that failed in the last seconds.
    func complaint(at now: Uptime) -> SourceComplaint? {
        lastComplaint.flatMap { now - $0.at < patience.complaining ? $0.complaint : nil }
    }

    /// Whether there is nobody to ask.
    var hasNoSource: Bool { sources.isEmpty }

    // MARK: Events

    mutating func handle(_ event: Event, at now: Uptime) -> [Effect] {
        take(event, at: now)
        if !isFinished { arrange(at: now) }
        defer { effects = [] }
        return effects
    }

    private mutating func take(_ event: Event, at now: Uptime) {
        switch event {
        case .assigned(let sources):
            self.sources = sources
            troubles = troubles.filter { sources.contains($0.key) }
        case .manifest(let held):
            guard self.held == nil else { return }
            self.held = held
        case .connected(let id):
            sign(id, at: now)
            lanes[id]?.isOpen = true
        case .took(let id, let bytes):
            sign(id, at: now)
            lanes[id]?.partBytes += bytes
            lanes[id]?.starvedSince = nil
            lanes[id]?.unwillingSince = nil
            if lanes[id]?.duty == .main { meter.took(bytes, at: now) }
        case .waiting(let id, let duration):
            sign(id, at: now)
            lanes[id]?.unwillingSince = nil
            if lanes[id] != nil, lanes[id]?.starvedSince == nil { lanes[id]?.starvedSince = now }
            if lanes[id]?.duty == .main { meter.waits(for: duration, at: now) }
        case .answering(let id, let waited):
            sign(id, at: now)
            lanes[id]?.unwillingSince = nil
            if lanes[id]?.duty == .main { meter.waited(for: waited, at: now) }
        case .received(let id, let index): received(index, on: id, at: now)
        case .refused(let id, let index, let refusal): refused(index, refusal, on: id, at: now)
        case .ended(let id, let failure): ended(id, failure, at: now)
        case .ticked: break
        }
    }

    private mutating func sign(_ id: LaneID, at now: Uptime) { lanes[id]?.lastSign = now }

    private mutating func received(_ index: Int, on id: LaneID, at now: Uptime) {
        sign(id, at: now)
        held?.insert(index)
        if let other = askedOf[index], other != id { lanes[other]?.asked.removeAll { $0 == index } }
        askedOf[index] = nil
        if var lane = lanes[id] {
            lane.asked.removeAll { $0 == index }
            answerBytes = lane.partBytes
            lane.partBytes = 0
            lane.delivered += 1
            lane.unwillingSince = nil
            lane.starvedSince = nil
            lanes[id] = lane
            troubles[lane.source]?.failures = 0
        }
        if held?.isComplete == true { finish() }
    }

    private mutating func refused(_ index: Int?, _ refusal: Refusal, on id: LaneID, at now: Uptime) {
        guard var lane = lanes[id] else { return }
        lane.lastSign = now
        lane.pauseUntil = now + patience.pause
        if let index {
            lane.asked.removeAll { $0 == index }
            if askedOf[index] == id { passOn(index, askedOf: id) }
        } else {
            lane.askedManifest = false
        }
        switch refusal {
        case .notYet: lane.starvedSince = lane.starvedSince ?? now
        case .unwilling: lane.unwillingSince = lane.unwillingSince ?? now
        }
        lanes[id] = lane
    }

    private mutating func ended(_ id: LaneID, _ failure: SourceFailure, at now: Uptime) {
        guard let lane = lanes[id] else { return }
        blame(lane.source, failure, at: now)
        drop(id)
    }

    private mutating func finish() {
        isFinished = true
        for id in lanes.keys.sorted() { close(id) }
        effects.append(.finished)
    }

    // MARK: Lanes

    /// Brings the connections to what the sources and their behaviour call for, and asks for what is missing.
    private mutating func arrange(at now: Uptime) {
        if held?.isComplete == true { return finish() }
        settleNewcomer(at: now)
        ensureMain(at: now)
        considerNewcomer(at: now)
        for id in lanes.keys.sorted() { ask(id, at: now) }
    }

    private var main: LaneID? { lanes.first { $0.value.duty == .main }?.key }
    private var newcomer: LaneID? { lanes.first { $0.value.duty != .main }?.key }

    /// What is wrong with a lane right now.
    private func trouble(of lane: FetchLane, at now: Uptime) -> SourceFailure? {
        let isAsked = !lane.isOpen || !lane.asked.isEmpty || lane.askedManifest
        if isAsked, now - lane.lastSign >= patience.silence { return lane.isOpen ? .silent : .broken }
        if let since = lane.unwillingSince, now - since >= patience.unwilling { return .unavailable }
        if let since = lane.starvedSince, now - since >= patience.starved { return .silent }
        return nil
    }

    private mutating func ensureMain(at now: Uptime) {
        guard main == nil else { return }
        if let id = newcomer {
            promote(id, at: now)
        } else if let source = best(at: now) ?? leastBad(at: now) {
            open(source, .main, at: now)
            meter.restart(at: now)
        }
    }

    /// One beside the main lane, where that is in trouble or not the best.
    private mutating func considerNewcomer(at now: Uptime) {
        guard let id = main, let lane = lanes[id], newcomer == nil else { return }
        if let failure = trouble(of: lane, at: now) {
            if lane.blamedAt.map({ now - $0 >= patience.silence }) ?? true {
                lanes[id]?.blamedAt = now
                blame(lane.source, failure, at: now)
            }
            if let next = best(at: now, except: lane.source) ?? leastBad(at: now, except: lane.source) {
                return open(next, .rescuer, at: now)
            }
            // Nobody else: a connection that may be dead is made anew, unless the source is alive.
            if failure != .unavailable, lane.starvedSince == nil { drop(id, closing: true) }
            lanes[id]?.unwillingSince = nil
        } else if let better = best(at: now), better != lane.source, isBetter(better, than: lane.source) {
            open(better, .successor, at: now)
        }
    }

    private func isBetter(_ source: ChunkSource, than other: ChunkSource) -> Bool {
        guard let place = sources.firstIndex(of: source) else { return false }
        return sources.firstIndex(of: other).map { place < $0 } ?? true
    }

    /// A newcomer takes over, fails, or turns out not to be needed.
    private mutating func settleNewcomer(at now: Uptime) {
        guard let id = newcomer, let lane = lanes[id] else { return }
        guard let mainID = main, let current = lanes[mainID] else { return promote(id, at: now) }
        if let failure = trouble(of: lane, at: now) {
            blame(lane.source, failure, at: now)
            return drop(id, closing: true)
        }
        let isMainWanted = sources.contains(current.source)
        let isMainWell = isMainWanted && trouble(of: current, at: now) == nil
        // It is back.
        if lane.duty == .rescuer, isMainWell, current.lastSign > lane.openedAt { return drop(id, closing: true) }
        let gives = lane.delivered > 0 || (lane.isOpen && !isMainWanted) || (lane.isOpen && held == nil)
        if gives {
            // What is half here is not thrown away, unless it takes long.
            let readySince = lane.readySince ?? now
            lanes[id]?.readySince = readySince
            let mayEnd =
                lane.duty == .successor && isAlmostHere(current) && trouble(of: current, at: now) == nil
            if !mayEnd || now - readySince >= patience.parting { promote(id, at: now) }
        } else if lane.duty == .successor, lane.starvedSince.map({ now - $0 >= patience.silence * 2 }) ?? false {
            // It has nothing that we lack yet.
            avoid(lane.source, at: now)
            drop(id, closing: true)
        }
    }

    /// More than half of the answer under way has come, if it is as long as the last one.
    private func isAlmostHere(_ lane: FetchLane) -> Bool { answerBytes > 0 && lane.partBytes * 2 > answerBytes }

    private mutating func promote(_ id: LaneID, at now: Uptime) {
        if let old = main { drop(old, closing: true) }
        lanes[id]?.duty = .main
        meter.restart(at: now)
    }

    private mutating func open(_ source: ChunkSource, _ duty: FetchLane.Duty, at now: Uptime) {
        nextLane += 1
        let id = LaneID(number: nextLane)
        lanes[id] = FetchLane(source, duty, at: now)
        effects.append(.connect(id, source))
    }

    private mutating func close(_ id: LaneID) {
        lanes[id] = nil
        effects.append(.close(id))
    }

    /// Forgets a lane; what it was asked for is asked of others.
    private mutating func drop(_ id: LaneID, closing: Bool = false) {
        guard let lane = lanes[id] else { return }
        for index in lane.asked where askedOf[index] == id { passOn(index, askedOf: id) }
        if closing { close(id) } else { lanes[id] = nil }
    }

    /// A lane will not give a chunk. Two may have been asked for it: then the other still may, and is not asked twice.
    private mutating func passOn(_ index: Int, askedOf id: LaneID) {
        askedOf[index] = lanes.first { $0.key != id && $0.value.asked.contains(index) }?.key
        if askedOf[index] == nil { frontier = min(frontier, index) }
    }

    // MARK: Sources

    private func best(at now: Uptime, except: ChunkSource? = nil) -> ChunkSource? {
        sources.first { source in
            source != except && troubles[source].map { $0.avoidUntil <= now } ?? true
                && !lanes.values.contains { $0.source == source && $0.duty != .main }
        }
    }

    /// Where all have failed: the one whose turn comes first.
    private func leastBad(at now: Uptime, except: ChunkSource? = nil) -> ChunkSource? {
        sources.filter { source in source != except && troubles[source].map { $0.retryAt <= now } ?? true }
            .min { troubles[$0]?.retryAt ?? now < troubles[$1]?.retryAt ?? now }
    }

    private mutating func blame(_ source: ChunkSource, _ failure: SourceFailure, at now: Uptime) {
        guard sources.contains(source) else { return }
        var trouble = troubles[source] ?? SourceTrouble(avoidUntil: now, retryAt: now)
        let factor = 1 << min(trouble.failures, 6)
        trouble.failures += 1
        let isLiar = failure == .lied
        let lie = source.node == nil ? patience.lyingManager : patience.liar
        trouble.avoidUntil = now + (isLiar ? lie : min(patience.avoid * factor, patience.longestAvoid))
        trouble.retryAt = now + (isLiar ? lie : min(patience.firstRetry * factor, patience.longestRetry))
        troubles[source] = trouble
        lastComplaint = (SourceComplaint(source: source.node, failure: failure), now)
        if effects.last != .complain { effects.append(.complain) }
    }

    private mutating func avoid(_ source: ChunkSource, at now: Uptime) {
        troubles[source, default: SourceTrouble(avoidUntil: now, retryAt: now)].avoidUntil = now + patience.avoid
    }

    // MARK: Chunks

    private mutating func ask(_ id: LaneID, at now: Uptime) {
        guard let lane = lanes[id], lane.isOpen, lane.pauseUntil.map({ $0 <= now }) ?? true else { return }
        guard held != nil else {
            guard !lane.askedManifest else { return }
            lanes[id]?.askedManifest = true
            // Not counted as silence from before.
            lanes[id]?.lastSign = now
            effects.append(.askManifest(id))
            return
        }
        lanes[id]?.askedManifest = false
        switch lane.duty {
        case .main:
            guard trouble(of: lane, at: now) == nil, sources.contains(lane.source) || newcomer == nil else { return }
            fill(id, patience.window, at: now)
        case .rescuer: takeOver(id, at: now)
        case .successor:
            if let current = main.flatMap({ lanes[$0] }), !sources.contains(current.source) {
                return takeOver(id, at: now)
            }
            // One, out of the way of those that are due, to see whether it gives.
            guard lane.asked.isEmpty, let index = missing(from: frontier, skipping: patience.window) else { return }
            ask(index, of: id, at: now)
        }
    }

    private mutating func fill(_ id: LaneID, _ window: Int, at now: Uptime) {
        while let count = lanes[id]?.asked.count, count < window, let index = missing(from: frontier, skipping: 0) {
            frontier = index + 1
            ask(index, of: id, at: now)
        }
    }

    /// What the main lane was asked for, and then what comes next. A chunk that is half here may still come from there.
    private mutating func takeOver(_ id: LaneID, at now: Uptime) {
        guard let current = main.flatMap({ lanes[$0] }) else { return }
        let mayEnd = isAlmostHere(current) && trouble(of: current, at: now) == nil
        let stuck = mayEnd ? Array(current.asked.dropFirst()) : current.asked
        for index in stuck
        where lanes[id].map({ $0.asked.count < patience.window && !$0.asked.contains(index) }) ?? false {
            guard held?.contains(index) == false else { continue }
            ask(index, of: id, at: now)
        }
        fill(id, patience.window, at: now)
    }

    private mutating func ask(_ index: Int, of id: LaneID, at now: Uptime) {
        // One that was idle is not silent.
        if lanes[id]?.asked.isEmpty == true { lanes[id]?.lastSign = now }
        lanes[id]?.asked.append(index)
        askedOf[index] = id
        effects.append(.ask(id, index))
    }

    /// The first chunk that is neither held nor asked for, after some of them.
    private func missing(from start: Int, skipping count: Int) -> Int? {
        guard let held else { return nil }
        var left = count
        var index = start
        while let next = held.firstMissing(from: index) {
            if askedOf[next] == nil {
                if left == 0 { return next }
                left -= 1
            }
            index = next + 1
        }
        return nil
    }
}
