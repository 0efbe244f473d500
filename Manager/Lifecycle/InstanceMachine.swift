public import ManagerModel
public import ProtocolModel

/// What may happen to an instance, and what follows. Pure: the caller stores the changed instance and carries out the
/// effects in the same transaction.
///
/// ```
///            create            ready             stop               stopped
///   (none) ────────▶ QUEUED ▶ BUILDING ▶ ACTIVE ──────▶ STOPPING ─────────▶ STOPPED ──start──▶ BUILDING
///                                 │        │ ▲ reboot              ▲
///                            boot timeout  ▼ │ ready      guest shuts itself down
///                                 ▼     REBOOTING
///                               ERROR ──ready──▶ ACTIVE          any ──delete──▶ DELETING ──gone──▶ DELETED
/// ```
public struct InstanceMachine: Sendable {
    /// What the caller has to do besides storing the instance.
    public enum Effect: Sendable, Equatable {
        /// The node must be told.
        case assign
        /// The running operation of the instance ends well.
        case succeed
        case fail(code: String, sentence: String)
        case step(name: String, detail: String)
        case event(kind: String, detail: String)
        /// Nothing is left on the host: claim, address and MAC are free again.
        case release
    }

    private static let guestShutdown = "guest_shutdown"
    /// The code of one whose room went to another.
    static let preempted = "preempted"
    /// The code of one that waits.
    static let queued = "queued"

    public var instance: Instance

    public init(_ instance: Instance) {
        self.instance = instance
    }

    // MARK: Requests

    /// A guest that has not obeyed its stop yet is rebooted.
    ///
    /// - Parameter timeoutSeconds: how long such a guest may still take before it is forced off. A drain's stop has no
    ///   limit, and a start that kept that would wait for a deaf guest for ever.
    /// - Throws: `Refusal.conflict` where the state does not allow it.
    public mutating func start(timeoutSeconds: Int, at now: Timestamp) throws(Refusal) -> [Effect] {
        guard instance.desired == .stopped else {
            throw Refusal(
                .conflict,
                "instance '\(instance.name)' is \(instance.status.rawValue), only a stopped one can be started")
        }
        guard !instance.room.isBeingLeft else {
            throw Refusal(
                .conflict,
                "instance '\(instance.name)' is being stopped to make room for another; it can be started once it is STOPPED"
            )
        }
        instance.desired = .running
        instance.powerCycle = instance.powerCycle.next
        instance.stoppedByDrain = false
        instance.stopTimeoutSeconds = timeoutSeconds
        change(.building, "starting", "waiting for the node to start it", at: now)
        instance.readyAt = nil
        return [.assign, .event(kind: "instance.start_requested", detail: "")]
    }

    /// - Parameter timeoutSeconds: how long the guest may take before it is forced off; `nil`: it is not forced.
    public mutating func stop(
        force: Bool, timeoutSeconds: Int?, byDrain: Bool = false, at now: Timestamp
    ) throws(Refusal)
        -> [Effect]
    {
        // What did not stop as asked, or could not be stopped, may still be forced off.
        guard instance.desired == .running || (force && instance.desired == .stopped && instance.status != .stopped)
        else {
            throw Refusal(
                .conflict,
                "instance '\(instance.name)' is \(instance.status.rawValue), only a running one can be stopped")
        }
        instance.desired = .stopped
        instance.stopTimeoutSeconds = timeoutSeconds
        instance.stoppedByDrain = byDrain
        change(.stopping, "stopping", force ? "being forced off" : "the guest was asked to shut down", at: now)
        instance.force = force
        return [.assign, .event(kind: "instance.stop_requested", detail: byDrain ? "its node is being disabled" : "")]
    }

    /// Another gets its room: the guest is asked to shut down, and forced off in the end.
    public mutating func yield(graceSeconds: Int, at now: Timestamp) throws(Refusal) -> [Effect] {
        _ = try stop(force: false, timeoutSeconds: graceSeconds, at: now)
        instance.room = instance.preemption == .stop ? .leaving : .yielding
        let reason =
            "preempted: another needs its room; the guest was asked to shut down, and is forced off after \(graceSeconds) s"
        show(.stopping, Self.preempted, reason, at: now)
        return [.assign, .event(kind: "instance.preempted", detail: reason)]
    }

    /// A stopped one is to start once its node has what it needs.
    ///
    /// - Parameter code: why it waits.
    public mutating func wait(_ code: String, _ reason: String, at now: Timestamp) throws(Refusal) -> [Effect] {
        guard instance.desired == .stopped, instance.status == .stopped, !instance.room.isBeingLeft else {
            throw Refusal(
                .conflict,
                "instance '\(instance.name)' is \(instance.status.rawValue), only a stopped one can wait to be started")
        }
        instance.stoppedByDrain = false
        show(.queued, code, reason, at: now)
        return [.event(kind: "instance.queued", detail: reason)]
    }

    /// One that waits to be started again is not to be.
    public mutating func leaveQueue(at now: Timestamp) throws(Refusal) -> [Effect] {
        guard instance.isWaiting, instance.node != nil else {
            throw Refusal(
                .conflict,
                "instance '\(instance.name)' has no disk yet, as it waits to be placed; delete it to take it out of the queue"
            )
        }
        show(.stopped, "stopped", "taken out of the queue; the disk is kept", at: now)
        return [.succeed, .event(kind: "instance.stopped", detail: instance.statusReason)]
    }

    /// Ends one that never had a host.
    public mutating func discard(at now: Timestamp) -> [Effect] {
        instance.desired = .deleted
        instance.deletedAt = now
        change(.deleted, "deleted", "deleted before it was placed", at: now)
        return [.release, .succeed, .event(kind: "instance.deleted", detail: instance.statusReason)]
    }

    public mutating func reboot(force: Bool, timeoutSeconds: Int?, at now: Timestamp) throws(Refusal) -> [Effect] {
        guard instance.desired == .running, instance.status == .active || instance.status == .error else {
            throw Refusal(
                .conflict,
                "instance '\(instance.name)' is \(instance.status.rawValue), only an active one can be rebooted")
        }
        instance.powerCycle = instance.powerCycle.next
        instance.stopTimeoutSeconds = timeoutSeconds
        change(.rebooting, "rebooting", force ? "being reset" : "the guest was asked to reboot", at: now)
        instance.force = force
        instance.readyAt = nil
        return [.assign, .event(kind: "instance.reboot_requested", detail: "")]
    }

    public mutating func delete(at now: Timestamp) throws(Refusal) -> [Effect] {
        guard instance.desired != .deleted else {
            throw Refusal(
                .conflict, "instance '\(instance.name)' is being deleted already", operation: instance.operation)
        }
        instance.desired = .deleted
        change(.deleting, "deleting", "waiting for the node to remove domain and disk", at: now)
        return [.assign, .event(kind: "instance.delete_requested", detail: "")]
    }

    /// It is started anew on another host, since its own runs nothing any more: a new placement, of which the old host, if it
    /// ever comes back, knows by the epoch that it is not its own.
    ///
    /// - Parameters:
    ///   - address: on the new host.
    ///   - why: how it is known that the old host runs nothing.
    public mutating func startElsewhere(
        on node: NodeID, address: String, why: String, stopTimeoutSeconds: Int = 90, at now: Timestamp
    ) -> [Effect] {
        instance.node = node
        // Whoever emptied its lost node did not mean it to stay off for ever.
        if instance.stoppedByDrain { instance.stopTimeoutSeconds = stopTimeoutSeconds }
        instance.stoppedByDrain = false
        instance.desired = .running
        instance.epoch = instance.epoch.next
        instance.ipAddress = address
        instance.powerCycle = instance.powerCycle.next
        instance.startedAt = nil
        instance.readyAt = nil
        instance.isHostLossPolicyUnconfirmed = false
        change(
            .building, "restarted_elsewhere", "its host is lost (\(why)); started anew from its image on another",
            at: now)
        return [
            .assign, .step(name: "restart_elsewhere", detail: instance.statusReason),
            .event(
                kind: "instance.restarted_elsewhere",
                detail: "its host is lost (\(why)); started anew from its image: what was written to its disk is lost"),
        ]
    }

    /// Its host runs nothing any more, and there is no other for it yet.
    public mutating func waitForHost(_ reason: String, at now: Timestamp) -> [Effect] {
        let text = String(reason.prefix(1000))
        guard instance.statusCode != "waiting_for_host" || instance.statusReason != text else { return [] }
        let isNews = instance.statusCode != "waiting_for_host"
        instance.startedAt = nil
        instance.readyAt = nil
        show(.queued, "waiting_for_host", text, at: now)
        return [.step(name: "wait_for_host", detail: text)]
            + (isNews ? [.event(kind: "instance.waiting_for_host", detail: text)] : [])
    }

    /// What becomes of it when its host vanishes. A host that was told otherwise before has to say that it knows.
    public mutating func change(onHostLoss policy: HostLossPolicy, at now: Timestamp) {
        guard policy != instance.onHostLoss else { return }
        instance.onHostLoss = policy
        instance.updatedAt = now
        guard policy == .restart else { return }
        // A report of this generation tells that the host has kept the new wish, and with it the policy.
        instance.generation = instance.generation.next
        instance.isHostLossPolicyUnconfirmed = true
    }

    /// A new wish: a new generation, so that reports about the old one are told apart.
    private mutating func change(_ status: InstanceStatus, _ code: String, _ reason: String, at now: Timestamp) {
        instance.generation = instance.generation.next
        instance.force = false
        show(status, code, reason, at: now)
    }

    private mutating func show(_ status: InstanceStatus, _ code: String, _ reason: String, at now: Timestamp) {
        instance.status = status
        instance.statusCode = code
        instance.statusReason = reason
        instance.updatedAt = now
    }

    // MARK: Reports

    /// Takes in what the host says. Reports about another placement or an older wish change nothing (P1).
    public mutating func observe(_ seen: ObservedInstance, at now: Timestamp) -> [Effect] {
        guard seen.epoch == instance.epoch, seen.generation == instance.generation, instance.status != .deleted else {
            return []
        }
        let before = instance
        let effects =
            switch instance.desired {
            case .running: observeRunning(seen, at: now)
            case .stopped: observeStopped(seen, at: now)
            case .deleted: observeDeleted(seen, at: now)
            }
        if instance.status == before.status && instance.statusReason == before.statusReason
            && instance.startedAt == before.startedAt
        {
            // Nothing that anybody could see: keep the time of the last visible change.
            instance.updatedAt = before.updatedAt
        }
        return effects
    }

    private mutating func observeRunning(_ seen: ObservedInstance, at now: Timestamp) -> [Effect] {
        if answeredBefore(seen) { return [] }
        if let started = seen.domainStartedAt { instance.startedAt = started }
        switch seen.state {
        case .preparing:
            show(
                visible(.building), code(seen, "preparing"), reason(seen, "image and disk are being prepared"), at: now)
            return [.step(name: "prepare", detail: instance.statusReason)]
        case .starting, .stopping:
            show(visible(.building), code(seen, "booting"), reason(seen, "the guest is booting"), at: now)
            return [.step(name: "boot", detail: instance.statusReason)]
        case .running:
            guard seen.powerCycle == instance.powerCycle else { return [] }
            let was = instance.status
            if was != .active { instance.readyAt = seen.at }
            show(.active, "ready", reason(seen, "the guest answers"), at: now)
            return was == .active
                ? []
                : [
                    .step(name: "ready", detail: instance.statusReason), .succeed,
                    .event(kind: "instance.active", detail: ""),
                ]
        case .stopped:
            // The guest turned itself off; its owner's wish follows, else the agent would have to guess.
            guard seen.reasonCode == Self.guestShutdown else {
                show(
                    visible(.building), code(seen, "restarting"), reason(seen, "the domain is gone and comes back"),
                    at: now)
                return []
            }
            instance.desired = .stopped
            instance.startedAt = nil
            // Stopped for good only once its host has kept that: until then a boot of the host would start it again, and a
            // drain must not count it as gone (P6).
            change(.stopping, Self.guestShutdown, "the guest shut itself down", at: now)
            return [
                .assign, .fail(code: Self.guestShutdown, sentence: "the guest shut itself down before it was ready"),
            ]
        case .failed:
            guard seen.failureIsFinal || ["boot_timeout", "crash_loop"].contains(seen.reasonCode) else {
                show(
                    visible(.building), code(seen, "retrying"), reason(seen, "an attempt failed and is repeated"),
                    at: now)
                return [.step(name: "retry", detail: instance.statusReason)]
            }
            return fail(seen, at: now)
        case .deleted:
            return fail(seen, at: now)
        }
    }

    /// Whether this very guest was ready before. An agent that was restarted asks it anew; that it is silent now, since its
    /// owner closed the port, say, is no boot that failed.
    private func answeredBefore(_ seen: ObservedInstance) -> Bool {
        guard instance.status == .active, let started = seen.domainStartedAt, started == instance.startedAt else {
            return false
        }
        return seen.state == .starting || (seen.state == .failed && seen.reasonCode == "boot_timeout")
    }

    private mutating func observeStopped(_ seen: ObservedInstance, at now: Timestamp) -> [Effect] {
        switch seen.state {
        // That it is stopped is known: it waits.
        case .stopped where instance.status == .queued: return []
        case .stopped where instance.room.isBeingLeft:
            instance.startedAt = nil
            instance.readyAt = nil
            show(.stopped, Self.preempted, "preempted: its room went to another instance; the disk is kept", at: now)
            return [.succeed, .event(kind: "instance.stopped", detail: instance.statusReason)]
        case .stopped:
            let was = instance.status
            instance.startedAt = nil
            instance.readyAt = nil
            let byGuest = was == .stopping && instance.statusCode == Self.guestShutdown
            let isKnown = was == .stopped || byGuest
            let reason = isKnown ? instance.statusReason : reason(seen, "powered off; the disk is kept")
            show(.stopped, isKnown ? instance.statusCode : code(seen, "stopped"), reason, at: now)
            return was == .stopped
                ? [] : [.succeed, .event(kind: "instance.stopped", detail: byGuest ? instance.statusReason : "")]
        case .failed where seen.failureIsFinal:
            return fail(seen, at: now)
        case .failed:
            show(instance.status, code(seen, "retrying"), reason(seen, "stopping failed and is repeated"), at: now)
            return []
        case .deleted:
            return fail(seen, at: now)
        case .stopping:
            // What is in the way is worth telling; not that it takes its time, and never instead of why it stops.
            if instance.status == .stopping, instance.statusCode != Self.guestShutdown,
                !["", "shutting_down"].contains(seen.reasonCode)
            {
                show(.stopping, code(seen, "stopping"), reason(seen, "the host cannot stop it"), at: now)
            }
            return []
        case .preparing, .starting, .running:
            return []
        }
    }

    /// What its host says is in the way of its stop; `nil`: nothing, it takes its time.
    static func obstacle(to instance: Instance) -> String? {
        instance.status == .stopping && !["stopping", guestShutdown].contains(instance.statusCode)
            ? instance.statusReason : nil
    }

    private mutating func observeDeleted(_ seen: ObservedInstance, at now: Timestamp) -> [Effect] {
        switch seen.state {
        case .deleted:
            instance.startedAt = nil
            instance.readyAt = nil
            instance.deletedAt = now
            show(.deleted, "deleted", "deleted", at: now)
            return [.release, .succeed, .event(kind: "instance.deleted", detail: "")]
        case .failed:
            show(.deleting, code(seen, "retrying"), reason(seen, "removing failed and is repeated"), at: now)
            return [.step(name: "retry", detail: instance.statusReason)]
        case .preparing, .starting, .running, .stopping, .stopped:
            return []
        }
    }

    private mutating func fail(_ seen: ObservedInstance, at now: Timestamp) -> [Effect] {
        let was = instance.status
        show(.error, code(seen, "failed"), reason(seen, "the host reported a failure"), at: now)
        guard was != .error else { return [] }
        return [
            .fail(code: instance.statusCode, sentence: instance.statusReason),
            .event(kind: "instance.error", detail: instance.statusReason),
        ]
    }

    /// A reboot stays a reboot, and an instance in ERROR stays so until its guest answers.
    private func visible(_ status: InstanceStatus) -> InstanceStatus {
        instance.status == .rebooting || instance.status == .error ? instance.status : status
    }

    private func code(_ seen: ObservedInstance, _ otherwise: String) -> String {
        seen.reasonCode.isEmpty ? otherwise : String(seen.reasonCode.prefix(64))
    }

    private func reason(_ seen: ObservedInstance, _ otherwise: String) -> String {
        seen.reason.isEmpty ? otherwise : String(seen.reason.prefix(1000))
    }
}
