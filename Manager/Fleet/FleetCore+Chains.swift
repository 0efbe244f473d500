import ManagerLifecycle
import ManagerModel
import ProtocolMessages
import ProtocolModel
import ProtocolTransfer

/// What the manager knows of running chains between two commits, inside `FleetCore`.
struct ChainState: Sendable {
    var machine = ChainMachine()
    /// The record may have new members, or lost some.
    var isRosterDue = true
    var isReadingRoster = false
    /// Progress that is not recorded yet: the newest of each copy, so that many nodes cost one write a second.
    var progress: [NodeID: [ImageID: FleetReports.ObservedImage]] = [:]
    var isRecordingProgress = false
    /// How fast nodes were that have the image now.
    var throughput: [NodeID: Int64] = [:]
}

/// Chains of images while they run: nodes' reports go to `ChainMachine` at once and to the record once a second, and what it
/// plans anew is recorded, from where each node is told as of any change.
extension FleetCore {
    /// A few times a second, so that a host which fails is out of the way within two.
    mutating func lookAtChains(at now: Moment) -> [Effect] {
        let heldUp = Set(state.heard.filter { $0.value.heldUp != nil }.keys)
        if !heldUp.isEmpty { _ = chains.machine.handle(.heldUp(heldUp), at: now.uptime) }
        var effects = carryOut(chains.machine.handle(.ticked, at: now.uptime), at: now)
        if chains.isRosterDue, !chains.isReadingRoster {
            chains.isRosterDue = false
            chains.isReadingRoster = true
            effects.append(.work(.chains, at: now.timestamp))
        }
        return effects
    }

    /// Records what nodes said of their progress since the last time.
    mutating func recordProgress(at now: Moment) -> [Effect] {
        guard !chains.isRecordingProgress, !chains.progress.isEmpty || !chains.throughput.isEmpty else { return [] }
        var seen: [FleetWork.Progress] = []
        for (node, images) in chains.progress.sorted(by: { $0.key < $1.key }) {
            for (_, image) in images.sorted(by: { $0.key < $1.key }) {
                seen.append(FleetWork.Progress(node: node, image: image))
            }
        }
        let throughput = chains.throughput
        chains.progress = [:]
        chains.throughput = [:]
        chains.isRecordingProgress = true
        return [.work(.progress(seen, throughput: throughput), at: now.timestamp)]
    }

    /// Takes in what a node says of its images. Mere progress waits for `recordProgress`.
    ///
    /// - Returns: what is to be recorded at once, and what else is to be done.
    mutating func take(
        _ images: [FleetReports.ObservedImage], of node: NodeID, at now: Moment
    ) -> (urgent: [FleetReports.ObservedImage], effects: [Effect]) {
        var urgent: [FleetReports.ObservedImage] = []
        var effects: [Effect] = []
        for image in images {
            let isProgress = image.state == .fetching && chains.machine.isReceiving(image.image, node)
            if isProgress {
                chains.progress[node, default: [:]][image.image] = image
            } else {
                chains.progress[node]?[image.image] = nil
                urgent.append(image)
            }
            // Before the chain hears that it is whole, and ends.
            if image.state == .held, let pace = chains.machine.pace(of: node, image.image) {
                chains.throughput[node] = pace
            }
            guard let progress = ChainProgress(image) else { continue }
            effects += carryOut(
                chains.machine.handle(.progressed(image.image, node, progress), at: now.uptime), at: now)
        }
        return (urgent, effects)
    }

    mutating func chainsOpened(_ node: NodeID, at now: Moment) {
        _ = chains.machine.handle(.connected(node), at: now.uptime)
    }

    mutating func chainsClosed(_ node: NodeID, at now: Moment) -> [Effect] {
        return carryOut(chains.machine.handle(.disconnected(node), at: now.uptime), at: now)
    }

    /// What the record says of chains.
    mutating func chainsRead(_ record: [ImageID: [ChainMember]], at now: Moment) -> [Effect] {
        chains.isReadingRoster = false
        let images = Set(record.keys).union(chains.machine.activeImages)
        return images.sorted().flatMap { image in
            carryOut(chains.machine.handle(.recorded(image, record[image] ?? []), at: now.uptime), at: now)
        }
    }

    /// A plan did not reach the record: what is there is taken anew.
    mutating func relinkFailed(_ image: ImageID, at now: Uptime) {
        _ = chains.machine.handle(.notRecorded(image), at: now)
        chains.isRosterDue = true
    }

    private func carryOut(_ effects: [ChainMachine.Effect], at now: Moment) -> [Effect] {
        effects.map { effect in
            switch effect {
            case .relink(let image, let relinks): .work(.relink(image, relinks), at: now.timestamp)
            }
        }
    }
}

extension ChainProgress {
    /// `nil` where the copy is gone.
    init?(_ image: FleetReports.ObservedImage) {
        let state: ChainMember.State
        switch image.state {
        case .fetching: state = .fetching
        case .held: state = .held
        case .failed: state = .failed
        case .removed: return nil
        }
        self.init(
            state: state, chunksHeld: image.chunksHeld, chunksTotal: image.chunksTotal, throughput: image.throughput,
            bytesReceived: image.bytesReceived, complaint: image.complaint)
    }
}
