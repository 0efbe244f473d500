import ProtocolModel

extension Reconciler {
    mutating func assign(_ change: AssignmentChange, _ effects: inout [Effect]) -> Set<InstanceID> {
        var touched: Set<InstanceID> = []
        switch change {
        case .full(let assignments):
            let named = Set(assignments.map(\.instance))
            for id in records.keys where !named.contains(id) {
                withdraw(id)
                touched.insert(id)
            }
            setIsKnown = true
            for assignment in assignments where adopt(assignment, &effects) { touched.insert(assignment.instance) }
            // What was kept back until a set is known.
            touched.formUnion(records.keys)
            noticeStrayDisks(&effects)
        case .delta(let changed, let removed):
            for id in removed where records[id] != nil {
                withdraw(id)
                touched.insert(id)
            }
            for assignment in changed where adopt(assignment, &effects) { touched.insert(assignment.instance) }
        }
        return touched
    }

    private mutating func withdraw(_ id: InstanceID) {
        records[id]?.assignment = nil
        records[id]?.isNamed = false
        records[id]?.status = nil
        records[id]?.retryAt = nil
    }

    /// False where the assignment is of a placement that has been overtaken (P1).
    private mutating func adopt(_ assignment: Assignment, _ effects: inout [Effect]) -> Bool {
        var record = records[assignment.instance] ?? newRecord(assignment.instance)
        defer { records[assignment.instance] = record }
        if let known = record.knownEpoch, assignment.epoch < known {
            record.isNamed = true
            effects.append(
                .notice(.olderEpochIgnored(assignment.instance, offered: assignment.epoch, known: known)))
            return false
        }
        let before = record.assignment
        record.assign(assignment)
        return before != record.assignment
    }

    private func newRecord(_ id: InstanceID) -> InstanceRecord {
        var record = InstanceRecord(id: id, policy: policy)
        // A survey has shown everything that is there, and what came since came by our own actions.
        if isSurveyed { record.domain = .absent }
        record.hasDisk = disks.contains(id)
        return record
    }

    mutating func noticeStrayDisks(_ effects: inout [Effect]) {
        guard setIsKnown, isSurveyed else { return }
        let strays = disks.filter { records[$0]?.isNamed != true && !noticedDisks.contains($0) }
        for id in strays.sorted() { effects.append(.notice(.strayDisk(id))) }
        noticedDisks.formUnion(strays)
    }
}
