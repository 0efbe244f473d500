import ProtocolModel

extension Reconciler {
    mutating func requestSurvey(_ effects: inout [Effect]) {
        let token = SurveyToken(sequence: sequence)
        outstandingSurvey = token
        surveyAt = nil
        effects.append(.survey(token))
    }

    mutating func surveyFailed(
        _ token: SurveyToken, _ failure: ActionFailure, at now: Moment, _ effects: inout [Effect]
    ) {
        guard token == outstandingSurvey else { return }
        outstandingSurvey = nil
        let wait = surveyBackoff.next(using: &random)
        surveyAt = now.uptime + wait
        effects.append(.notice(.surveyFailed(failure, nextTryIn: wait)))
    }

    mutating func take(
        _ survey: Survey, for token: SurveyToken, at now: Moment, _ effects: inout [Effect]
    ) -> Set<InstanceID> {
        guard token == outstandingSurvey else { return [] }
        outstandingSurvey = nil
        surveyBackoff.reset()
        surveyAt = now.uptime + policy.surveyInterval
        if let leaving, token.sequence >= leaving.sequence { self.leaving?.isSurveyed = true }
        let isFirst = !isSurveyed
        isSurveyed = true
        disks = survey.disks
        var touched: Set<InstanceID> = []
        for id in Set(records.keys).union(survey.domains.keys) {
            var record = records[id] ?? InstanceRecord(id: id, policy: policy)
            // A survey that began before the last action ended shows what was, not what is.
            guard record.inFlight == nil, record.touched < token.sequence else { continue }
            touched.insert(id)
            if isFirst {
                begin(&record, with: survey.domains[id], at: now, &effects)
            } else if record.observation != survey.domains[id] {
                // A surprise: looked at again by itself before anything is done about it.
                if record.domain == .unknown { record.domain = .absent }
                record.mustInspect = true
            }
            record.hasDisk = survey.disks.contains(id)
            record.diskIsIndependent = survey.independentDisks.contains(id)
            records[id] = record
        }
        noticeStrayDisks(&effects)
        return touched
    }

    /// The first sight of a domain: nothing is concluded from how it came to be so (P5).
    private mutating func begin(
        _ record: inout InstanceRecord, with observation: DomainObservation?, at now: Moment, _ effects: inout [Effect]
    ) {
        guard let observation else {
            record.domain = .absent
            return
        }
        record.domain = .present(observation)
        switch observation.state {
        case .running:
            record.addressReserved = true
            beginRun(&record, at: now, &effects)
        // On a host that was taken back it was asked to, by the process before this one.
        case .stopped(.guestShutdown) where !hostRebooted && leaving == nil:
            guard let assignment = record.assignment, observation.powerCycle == assignment.powerCycle else { return }
            record.ended = InstanceRecord.Ended(
                generation: assignment.generation, powerCycle: assignment.powerCycle)
        case .stopped: break
        }
    }

    /// An event of the hypervisor says where to look.
    mutating func hint(_ id: InstanceID, stopped cause: StopCause?) -> Set<InstanceID> {
        guard var record = records[id] else { return [] }
        defer { records[id] = record }
        if record.inFlight != nil {
            if let cause {
                record.inFlight?.sawStop = true
                record.hintedCause = cause
            } else {
                record.inFlight?.sawStart = true
            }
            return []
        }
        guard record.domain != .unknown, record.domainRuns == (cause != nil) else { return [] }
        record.hintedCause = cause
        record.mustInspect = true
        return [id]
    }
}
