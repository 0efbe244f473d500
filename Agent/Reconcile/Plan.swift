import ProtocolModel

/// What to do about an instance now.
enum Step: Sendable, Hashable {
    case rest
    case wait(until: Uptime)
    case act(Action)
    /// Nothing of the instance is left here.
    case forget
}

/// What a plan looks at beyond its instance.
struct Surroundings {
    let now: Uptime
    let policy: ReconcilePolicy
    /// A whole set has been received or loaded, so what it does not name is a stray.
    let setIsKnown: Bool
    let heldImages: Set<ImageID>
}

extension InstanceRecord {
    /// The next step from what is to what should be. Repeating it changes nothing.
    mutating func nextStep(in surroundings: Surroundings) -> Step {
        guard inFlight == nil, domain != .unknown else { return .rest }
        if let retryAt, surroundings.now < retryAt { return .wait(until: retryAt) }
        if mustInspect { return .act(.inspect(id)) }
        guard let assignment else {
            return surroundings.setIsKnown && !isNamed ? strayStep() : .rest
        }
        // The host runs a newer placement than it has been told about: hands off (P1, P5).
        if let observation, observation.epoch > assignment.epoch { return .rest }
        switch assignment.desired {
        case .running: return runningStep(assignment, in: surroundings)
        case .stopped: return stoppedStep(assignment, in: surroundings)
        case .deleted: return deletedStep()
        }
    }

    /// The disk is there and stands by itself.
    var needsNoImage: Bool { hasDisk && diskIsIndependent }

    private mutating func runningStep(_ assignment: Assignment, in surroundings: Surroundings) -> Step {
        switch domain {
        case .unknown: return .rest
        case .present(let observation) where observation.isRunning:
            if observation.epoch < assignment.epoch { return .act(.powerOff(id)) }
            if observation.powerCycle < assignment.powerCycle { return shutDownStep(assignment, in: surroundings) }
            stopping = nil
            // Only now: it takes longer than a start, and the guest asks for its address seconds later.
            if !addressReserved { return .act(.reserveAddress(assignment)) }
            if case .waiting(let deadline?) = readiness { return .wait(until: deadline) }
            return .rest
        case .present:
            return staysDown ? .rest : .act(.removeDomain(id))
        case .absent:
            if staysDown { return .rest }
            if let startAt, surroundings.now < startAt { return .wait(until: startAt) }
            if diskIsLent { return .rest }
            guard surroundings.heldImages.contains(assignment.image) || needsNoImage else { return .rest }
            if !hasDisk || !seedWritten { return .act(.makeFiles(assignment)) }
            return .act(.start(assignment))
        }
    }

    private mutating func stoppedStep(_ assignment: Assignment, in surroundings: Surroundings) -> Step {
        switch domain {
        case .present(let observation) where observation.isRunning: shutDownStep(assignment, in: surroundings)
        case .present: .act(.removeDomain(id))
        case .absent, .unknown: .rest
        }
    }

    private func deletedStep() -> Step {
        switch domain {
        case .present(let observation): .act(observation.isRunning ? .powerOff(id) : .removeDomain(id))
        case .absent where !addressReleased: .act(.releaseAddress(id))
        case .absent where diskIsLent: .rest
        case .absent where !diskRemoved: .act(.removeDisk(id))
        case .absent, .unknown: .rest
        }
    }

    private func strayStep() -> Step {
        switch domain {
        case .present(let observation): .act(observation.isRunning ? .powerOff(id) : .removeDomain(id))
        case .absent where diskIsLent: .rest
        case .absent: addressReleased ? .forget : .act(.releaseAddress(id))
        case .unknown: .rest
        }
    }

    private mutating func shutDownStep(_ assignment: Assignment, in surroundings: Surroundings) -> Step {
        if assignment.force { return .act(.powerOff(id)) }
        let now = surroundings.now
        var stopping = self.stopping ?? Stopping(since: now, nextRequest: now)
        defer { self.stopping = stopping }
        let deadline = assignment.stopTimeout.map { stopping.since + $0 }
        if let deadline, now >= deadline { return .act(.powerOff(id)) }
        guard now >= stopping.nextRequest else {
            return .wait(until: deadline.map { min($0, stopping.nextRequest) } ?? stopping.nextRequest)
        }
        stopping.nextRequest = now + surroundings.policy.stopRequestInterval
        lastAskedToStop = now
        return .act(.askToShutDown(id))
    }
}
