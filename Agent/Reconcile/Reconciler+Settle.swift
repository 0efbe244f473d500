import ProtocolModel

extension Reconciler {
    /// Plans every touched instance, and those that wait for a place.
    mutating func settle(_ touched: inout Set<InstanceID>, at now: Moment, _ effects: inout [Effect]) {
        for id in touched.sorted() { plan(id, at: now, &effects) }
        while heavyActions < policy.parallelStarts, let id = queue.first {
            queue.removeFirst()
            touched.insert(id)
            plan(id, at: now, &effects)
        }
    }

    private mutating func plan(_ id: InstanceID, at now: Moment, _ effects: inout [Effect]) {
        guard isSurveyed, var record = records[id] else { return }
        watchReadiness(of: &record, at: now, &effects)
        record.wakeAt = nil
        let surroundings = Surroundings(
            now: now.uptime, policy: policy, setIsKnown: setIsKnown, managerIsHeard: managerIsHeard,
            heldImages: heldImages,
            forceAt: leaving?.forceAt)
        let step = record.nextStep(in: surroundings)
        switch step {
        case .rest: break
        case .wait(let until): record.wakeAt = until
        case .forget:
            records[id] = nil
            queue.removeAll { $0 == id }
            return
        case .act(let action):
            if action.isHeavy, heavyActions >= policy.parallelStarts {
                if !queue.contains(id) { queue.append(id) }
            } else {
                explain(action, &record, at: now, &effects)
                begin(action, &record, &effects)
            }
        }
        if case .waiting(let deadline?) = record.readiness {
            record.wakeAt = record.wakeAt.map { min($0, deadline) } ?? deadline
        }
        records[id] = record
    }

    private mutating func begin(_ action: Action, _ record: inout InstanceRecord, _ effects: inout [Effect]) {
        lastAction += 1
        let id = ActionID(number: lastAction)
        if action.isHeavy { heavyActions += 1 }
        record.inFlight = InstanceRecord.InFlight(id: id, action: action)
        record.retryAt = nil
        record.touched = sequence
        effects.append(.perform(id, action))
    }

    /// Starts asking a guest that runs, and notes when it has taken too long.
    private func watchReadiness(of record: inout InstanceRecord, at now: Moment, _ effects: inout [Effect]) {
        guard record.domainRuns, let assignment = record.assignment else { return }
        switch record.readiness {
        case .none where !assignment.probesReadiness: record.readiness = .ready
        case .none:
            record.readiness = .waiting(deadline: assignment.bootTimeout.map { now.uptime + $0 })
            effects.append(.probe(assignment))
        case .waiting(let deadline?) where now.uptime >= deadline:
            record.readiness = .late
            if assignment.desired == .running, let limit = assignment.bootTimeout {
                effects.append(.notice(.bootTimedOut(record.id, after: limit)))
            }
        case .waiting, .late, .ready: break
        }
    }

    /// Says in the log what a person would ask about.
    private func explain(
        _ action: Action, _ record: inout InstanceRecord, at now: Moment, _ effects: inout [Effect]
    ) {
        guard case .powerOff = action, let observation = record.observation, !record.noticed else { return }
        guard let assignment = record.assignment else {
            record.noticed = true
            if leaving != nil { return }
            effects.append(.notice(.strayDomain(record.id, epoch: observation.epoch)))
            return
        }
        if observation.epoch < assignment.epoch {
            record.noticed = true
            effects.append(
                .notice(.outdatedDomain(record.id, running: observation.epoch, assigned: assignment.epoch)))
        } else if let stopping = record.stopping, !assignment.force, assignment.desired != .deleted {
            record.noticed = true
            effects.append(.notice(.forcedOff(record.id, after: now.uptime - stopping.since)))
        }
    }

    /// What changed goes to the manager; all of it at the start of a session.
    mutating func report(_ touched: Set<InstanceID>, at now: Moment, _ effects: inout [Effect]) {
        guard isSurveyed else { return }
        var changed: [Status] = []
        for id in touched.sorted() {
            guard let record = records[id], let status = currentStatus(of: record, at: now) else { continue }
            if let last = record.status, last.says(theSameAs: status) { continue }
            records[id]?.status = status
            changed.append(status)
        }
        guard sessionIsLive else { return }
        if owesFullReport, setIsKnown {
            owesFullReport = false
            effects.append(
                .report(full: true, records.values.compactMap(\.status).sorted { $0.instance < $1.instance }))
        } else if !changed.isEmpty, !owesFullReport {
            effects.append(.report(full: false, changed))
        }
    }

    private func currentStatus(of record: InstanceRecord, at now: Moment) -> Status? {
        let image = record.assignment?.image
        return record.currentStatus(
            at: now.timestamp, policy: policy, departure: leaving?.departure, managerIsHeard: managerIsHeard,
            imageProblem: image.flatMap { imageProblems[$0] },
            imageIsHeld: record.needsNoImage || image.map { heldImages.contains($0) } ?? false)
    }
}
