import ProtocolModel

extension InstanceRecord {
    /// What the manager is told of the instance; `nil` for what is not assigned, or not known yet.
    func currentStatus(
        at now: Timestamp, policy: ReconcilePolicy, departure: Departure?, managerIsHeard: Bool, imageProblem: String?,
        imageIsHeld: Bool
    ) -> Status? {
        guard let assignment, domain != .unknown else { return nil }
        var status = Status(
            instance: id, epoch: assignment.epoch, generation: assignment.generation, state: .preparing, at: now,
            powerCycle: observation?.powerCycle ?? PowerCycle(0),
            domainStartedAt: domainRuns ? observation?.startedAt : nil,
            devices: domainRuns ? observation?.devices ?? [] : [])
        if let observation, observation.epoch > assignment.epoch {
            status.tell(
                .failed, "epoch_conflict",
                "the host runs a newer placement of this instance (epoch \(observation.epoch)) and leaves it alone")
            return status
        }
        if let departure, assignment.desired == .running {
            tell(departure, in: &status)
            return status
        }
        switch assignment.desired {
        case .deleted: tellDeletion(in: &status)
        case .stopped: tellStop(in: &status)
        case .running where domainRuns: tellRun(assignment, in: &status, policy: policy)
        case .running where assignment.restartsElsewhere && !managerIsHeard && !staysDown:
            status.tell(
                .preparing, "waiting_for_manager",
                "the guest may run on another host by now, so it starts only once a manager has been heard")
        case .running: tellStart(assignment, &status, policy, imageProblem: imageProblem, imageIsHeld: imageIsHeld)
        }
        return status
    }

    private func tell(_ departure: Departure, in status: inout Status) {
        let reason = departure.reason.isEmpty ? "" : " (\(departure.reason))"
        let sentence = "the host's own operator has taken the host back\(reason)"
        if surelyHasNoDomain {
            status.tell(.stopped, "host_left", "\(sentence); the guest starts once the host is given back")
        } else {
            status.tell(.stopping, "host_left", "\(sentence); the guest is shutting down")
        }
    }

    private func tellDeletion(in status: inout Status) {
        if domain == .absent, diskRemoved, addressReleased, inFlight == nil, !mustInspect {
            status.tell(.deleted, "", "")
        } else {
            status.tell(.stopping, "deleting", "domain, address and disk are being removed")
            tellFailure(in: &status)
        }
    }

    /// No domain was seen, and none may have come since: a start may be under way, or have failed with its effect (P6).
    private var surelyHasNoDomain: Bool {
        guard domain == .absent, !mustInspect else { return false }
        switch inFlight?.action {
        case .start, .inspect: return false
        default: return true
        }
    }

    private func tellStop(in status: inout Status) {
        if surelyHasNoDomain {
            status.tell(.stopped, "", "")
        } else {
            status.tell(.stopping, "shutting_down", "the guest is shutting down")
            tellFailure(in: &status)
        }
    }

    private func tellFailure(in status: inout Status) {
        guard let failure else { return }
        status.code = failure.cause.code
        status.reason = failure.cause.sentence
    }

    private func tellRun(_ assignment: Assignment, in status: inout Status, policy: ReconcilePolicy) {
        guard let observation else { return }
        if observation.epoch < assignment.epoch || observation.powerCycle < assignment.powerCycle {
            status.tell(.stopping, "rebooting", "the guest is being rebooted")
            return
        }
        switch readiness {
        case .ready: status.tell(.running, "", "")
        case .late:
            let limit = assignment.bootTimeout.map { "\($0.milliseconds / 1000) s" } ?? "its time"
            status.tell(
                .failed, "boot_timeout", "the guest runs but did not answer within \(limit); look at its console")
            status.failureIsFinal = true
        case .none, .waiting:
            status.tell(.starting, "booting", "the guest is booting")
            if crashes >= policy.crashesInLoop { tellCrashLoop(in: &status) } else { tellFailure(in: &status) }
        }
    }

    private func tellStart(
        _ assignment: Assignment, _ status: inout Status, _ policy: ReconcilePolicy, imageProblem: String?,
        imageIsHeld: Bool
    ) {
        if staysDown {
            status.tell(.stopped, "guest_shutdown", "the guest shut itself down")
        } else if diskIsLent {
            status.tell(
                .preparing, "disk_being_copied",
                "an image is being made of the disk; the guest starts as soon as the copy is done")
        } else if let failure {
            status.tell(
                failure.cause.isLasting || failure.count >= policy.failuresBeforeReport ? .failed : .preparing,
                failure.cause.code, failure.cause.sentence)
            status.failureIsFinal = failure.cause.isLasting
        } else if crashes >= policy.crashesInLoop {
            tellCrashLoop(in: &status)
        } else if !imageIsHeld {
            status.tell(.preparing, "waiting_for_image", imageProblem ?? "the image is on its way to this host")
        } else if crashes > 0 {
            status.tell(.preparing, "crashed", "the guest stopped by itself and is started again")
        } else {
            status.tell(.preparing, "preparing", "disk and domain are being made")
        }
    }

    private func tellCrashLoop(in status: inout Status) {
        status.tell(
            .failed, "crash_loop",
            "the guest stopped by itself several times in a row; it is started again at longer and longer intervals")
    }
}

extension Status {
    fileprivate mutating func tell(_ state: State, _ code: String, _ reason: String) {
        self.state = state
        self.code = code
        self.reason = reason
    }
}
