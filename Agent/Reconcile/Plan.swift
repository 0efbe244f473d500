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
    /// This process knows from a manager, and not from the disk alone, what belongs here.
    let managerIsHeard: Bool
    let heldImages: Set<ImageID>
    /// The host was taken back: when guests are forced off; `nil`: it was not.
    let forceAt: Uptime?
}

extension InstanceRecord {
    /// The next step from what is to what should be. Repeating it changes nothing.
    mutating func nextStep(in surroundings: Surroundings) -> Step {
        guard inFlight == nil, domain != .unknown else { return .rest }
        if let retryAt, surroundings.now < retryAt { return .wait(until: retryAt) }
        if mustInspect { return .act(.inspect(id)) }
        // Whatever the manager wants, and whichever placement runs: the host belongs to somebody else.
        if surroundings.forceAt != nil, domainRuns { return leavingStep(in: surroundings) }
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
            if observation.powerCycle < assignment.powerCycle {
                // One that could not be started again afterwards goes on until it can.
                if waitsForManager(assignment, in: surroundings) { return .rest }
                return shutDownStep(assignment, in: surroundings)
            }
            stopping = nil
            // Only now: it takes longer than a start, and the guest asks for its address seconds later.
            if !addressReserved { return .act(.reserveAddress(assignment)) }
            if case .waiting(let deadline?) = readiness { return .wait(until: deadline) }
            return .rest
        case .present:
            return staysDown ? .rest : .act(.removeDomain(id))
        case .absent:
            if staysDown || surroundings.forceAt != nil { return .rest }
            if waitsForManager(assignment, in: surroundings) { return .rest }
            if let startAt, surroundings.now < startAt { return .wait(until: startAt) }
            if diskIsLent { return .rest }
            guard surroundings.heldImages.contains(assignment.image) || needsNoImage else { return .rest }
            if !hasDisk || !seedWritten { return .act(.makeFiles(assignment)) }
            return .act(.start(assignment))
        }
    }

    /// The host may have been given up while this was written on its disk: a boot alone, with the manager away, must not bring
    /// back a guest that runs on another host by now (P1).
    private func waitsForManager(_ assignment: Assignment, in surroundings: Surroundings) -> Bool {
        assignment.restartsElsewhere && !surroundings.managerIsHeard
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

    /// A guest on a host that was taken back. What was to end at once, does.
    private mutating func leavingStep(in surroundings: Surroundings) -> Step {
        guard let assignment, assignment.desired != .running else {
            if assignment == nil && surroundings.setIsKnown && !isNamed { return .act(.powerOff(id)) }
            return shutDownStep(within: nil, in: surroundings)
        }
        return assignment.desired == .deleted ? .act(.powerOff(id)) : shutDownStep(assignment, in: surroundings)
    }

    private mutating func shutDownStep(_ assignment: Assignment, in surroundings: Surroundings) -> Step {
        assignment.force ? .act(.powerOff(id)) : shutDownStep(within: assignment.stopTimeout, in: surroundings)
    }

    /// - Parameter limit: how long the guest may take before it is forced off; `nil`: as long as it likes, on a host that was
    ///   not taken back.
    private mutating func shutDownStep(within limit: Duration?, in surroundings: Surroundings) -> Step {
        let now = surroundings.now
        var stopping = self.stopping ?? Stopping(since: now, nextRequest: now)
        defer { self.stopping = stopping }
        let deadline = [limit.map { stopping.since + $0 }, surroundings.forceAt].compactMap(\.self).min()
        if let deadline, now >= deadline { return .act(.powerOff(id)) }
        guard now >= stopping.nextRequest else {
            return .wait(until: deadline.map { min($0, stopping.nextRequest) } ?? stopping.nextRequest)
        }
        stopping.nextRequest = now + surroundings.policy.stopRequestInterval
        lastAskedToStop = now
        return .act(.askToShutDown(id))
    }
}
