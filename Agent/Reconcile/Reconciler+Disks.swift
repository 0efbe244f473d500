import ProtocolModel

/// Disks that somebody else reads, such as to make an image of one. A disk belongs to one at a time: to a domain, or to who
/// borrowed it while no domain has it.
extension Reconciler {
    /// Answers those who wait, as far as it is known what their instances do.
    mutating func lendDisks(_ effects: inout [Effect]) {
        guard isSurveyed, setIsKnown else { return }
        for id in wantedDisks.sorted() {
            guard let record = records[id] else {
                wantedDisks.remove(id)
                effects.append(.lend(id, .absent))
                continue
            }
            // What an action leaves is looked at when it has ended.
            guard record.inFlight == nil, record.domain != .unknown, !record.mustInspect else { continue }
            wantedDisks.remove(id)
            if record.domainRuns {
                effects.append(.lend(id, .running))
            } else if record.hasDisk {
                records[id]?.diskIsLent = true
                effects.append(.lend(id, .stopped))
            } else {
                effects.append(.lend(id, .absent))
            }
        }
    }

    mutating func takeBack(_ id: InstanceID) -> Set<InstanceID> {
        wantedDisks.remove(id)
        guard records[id]?.diskIsLent == true else { return [] }
        records[id]?.diskIsLent = false
        return [id]
    }
}
