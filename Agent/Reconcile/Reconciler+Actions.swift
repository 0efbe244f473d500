import ProtocolModel

extension Reconciler {
    mutating func finish(
        _ id: ActionID, _ outcome: Outcome, at now: Moment, _ effects: inout [Effect]
    ) -> Set<InstanceID> {
        // An answer that nobody waits for, such as a second one, changes nothing.
        guard var record = records.values.first(where: { $0.inFlight?.id == id }), let inFlight = record.inFlight
        else { return [] }
        record.inFlight = nil
        record.touched = sequence
        if inFlight.action.isHeavy { heavyActions -= 1 }
        switch outcome {
        case .failed(let failure):
            record.mustInspect = record.mustInspect || inFlight.sawStart || inFlight.sawStop
            fail(&record, inFlight.action, failure, at: now, &effects)
        case .observed(let observation):
            clearFailure(&record, of: inFlight.action)
            record.mustInspect = inFlight.sawStart || inFlight.sawStop
            look(&record, at: observation, now, &effects)
        case .succeeded, .madeIndependentDisk:
            record.diskIsIndependent = record.diskIsIndependent || outcome == .madeIndependentDisk
            clearFailure(&record, of: inFlight.action)
            succeed(&record, inFlight, at: now, &effects)
        }
        records[record.id] = record
        return [record.id]
    }

    private mutating func succeed(
        _ record: inout InstanceRecord, _ inFlight: InstanceRecord.InFlight, at now: Moment, _ effects: inout [Effect]
    ) {
        // What happened meanwhile is looked up, but for what the action itself brings about.
        record.mustInspect = record.mustInspect || inFlight.sawStart || inFlight.sawStop
        switch inFlight.action {
        case .makeFiles:
            record.hasDisk = true
            record.seedWritten = true
            disks.insert(record.id)
        case .reserveAddress:
            record.addressReserved = true
            record.addressReleased = false
        case .start(let assignment):
            record.seedWritten = false
            record.addressReserved = false
            record.mustInspect = inFlight.sawStop
            record.domain = .present(
                DomainObservation(
                    epoch: assignment.epoch, powerCycle: assignment.powerCycle, state: .running,
                    startedAt: now.timestamp, devices: assignment.guest.devices.map(\.address)))
            beginRun(&record, at: now, &effects)
        case .askToShutDown: break
        case .powerOff:
            let before = record.observation
            record.mustInspect = inFlight.sawStart
            record.hintedCause = nil
            record.domain =
                before.map {
                    .present(
                        DomainObservation(
                            epoch: $0.epoch, powerCycle: $0.powerCycle, state: .stopped(.destroyed),
                            devices: $0.devices))
                } ?? .absent
            endRun(&record, &effects)
        case .removeDomain:
            record.mustInspect = inFlight.sawStart
            record.domain = .absent
        case .releaseAddress: record.addressReleased = true
        case .removeDisk:
            record.diskRemoved = true
            record.hasDisk = false
            record.diskIsIndependent = false
            disks.remove(record.id)
        case .inspect: break
        }
    }

    private mutating func fail(
        _ record: inout InstanceRecord, _ action: Action, _ failure: ActionFailure, at now: Moment,
        _ effects: inout [Effect]
    ) {
        if action.changesDomain { record.mustInspect = true }
        // The guest is asked again anyway, and forced in the end; a wait of its own would only delay that.
        if case .askToShutDown = action {
            record.mustInspect = true
            return
        }
        let count = record.failure.map { $0.action.isSameKind(as: action) ? $0.count + 1 : 1 } ?? 1
        record.failure = InstanceRecord.Failure(action: action, cause: failure, count: count)
        let wait = record.failureBackoff.next(using: &random)
        record.retryAt = now.uptime + wait
        if case .start = action {
            record.seedWritten = false
            record.addressReserved = false
        }
        effects.append(.notice(.actionFailed(record.id, failure, nextTryIn: wait)))
    }

    private func clearFailure(_ record: inout InstanceRecord, of action: Action) {
        guard let failure = record.failure, failure.action.isSameKind(as: action) else { return }
        record.failure = nil
        record.failureBackoff.reset()
        record.retryAt = nil
    }

    /// Compares a fresh look at the domain with what was known.
    private mutating func look(
        _ record: inout InstanceRecord, at observation: DomainObservation?, _ now: Moment, _ effects: inout [Effect]
    ) {
        let before = record.observation
        record.domain = observation.map { .present($0) } ?? .absent
        defer { record.hintedCause = nil }
        switch (before?.isRunning ?? false, observation?.isRunning ?? false) {
        case (false, true): beginRun(&record, at: now, &effects)
        case (true, true) where before?.powerCycle != observation?.powerCycle || before?.epoch != observation?.epoch:
            endRun(&record, &effects)
            beginRun(&record, at: now, &effects)
        case (true, false):
            var cause = StopCause.unknown
            if case .stopped(let shown)? = observation?.state, shown != .unknown {
                cause = shown
            } else if let hinted = record.hintedCause {
                cause = hinted
            }
            stoppedByItself(&record, cause, at: now, &effects)
            endRun(&record, &effects)
        case (true, true), (false, false): break
        }
    }

    private mutating func stoppedByItself(
        _ record: inout InstanceRecord, _ cause: StopCause, at now: Moment, _ effects: inout [Effect]
    ) {
        guard let assignment = record.assignment, assignment.desired == .running else { return }
        let askedLately = record.lastAskedToStop.map { now.uptime - $0 < .seconds(600) } ?? false
        if record.stopping != nil || (askedLately && cause == .guestShutdown) { return }
        effects.append(.notice(.guestStopped(record.id, cause)))
        if cause == .guestShutdown {
            record.ended = InstanceRecord.Ended(
                generation: assignment.generation, powerCycle: assignment.powerCycle)
            return
        }
        if let since = record.runningSince, now.uptime - since >= policy.steadyAfter {
            record.crashes = 0
            record.crashBackoff.reset()
        }
        record.crashes += 1
        let wait = record.crashBackoff.next(using: &random)
        record.startAt = now.uptime + wait
        if record.crashes >= policy.crashesInLoop {
            effects.append(.notice(.crashLoop(record.id, crashes: record.crashes, nextStartIn: wait)))
        }
    }

    mutating func beginRun(_ record: inout InstanceRecord, at now: Moment, _ effects: inout [Effect]) {
        record.runningSince = now.uptime
        record.stopping = nil
        record.lastAskedToStop = nil
        record.ended = nil
        record.startAt = nil
        record.failure = nil
        record.failureBackoff.reset()
        record.noticed = false
        record.readiness = .none
    }

    func endRun(_ record: inout InstanceRecord, _ effects: inout [Effect]) {
        if case .waiting = record.readiness { effects.append(.endProbe(record.id)) }
        if record.readiness == .late { effects.append(.endProbe(record.id)) }
        record.readiness = .none
        record.runningSince = nil
        record.stopping = nil
    }

    mutating func answer(_ id: InstanceID, _ cycle: PowerCycle, _ effects: inout [Effect]) -> Set<InstanceID> {
        guard let record = records[id], record.observation?.powerCycle == cycle, record.domainRuns else { return [] }
        switch record.readiness {
        case .waiting, .late:
            records[id]?.readiness = .ready
            effects.append(.endProbe(id))
            return [id]
        case .none, .ready: return []
        }
    }
}

extension Action {
    func isSameKind(as other: Action) -> Bool {
        switch (self, other) {
        case (.makeFiles, .makeFiles), (.reserveAddress, .reserveAddress),
            (.start, .start), (.askToShutDown, .askToShutDown), (.powerOff, .powerOff),
            (.removeDomain, .removeDomain), (.releaseAddress, .releaseAddress), (.removeDisk, .removeDisk),
            (.inspect, .inspect):
            true
        default: false
        }
    }
}
