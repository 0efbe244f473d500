import ProtocolModel

extension DeviceDesk {
    mutating func requestLook(_ effects: inout [Effect]) {
        guard outstanding == nil else {
            mustLookAgain = true
            return
        }
        looks += 1
        mustLookAgain = false
        nextLook = nil
        startingSinceLook = starting
        let token = LookToken(number: looks, revision: ledger.revision)
        outstanding = token
        let hasBusiness = !ledger.holds.isEmpty || !ledger.quarantine.isEmpty || !requests.isEmpty
        effects.append(.look(token, mustAsk: hasBusiness))
    }

    mutating func take(_ look: DeviceLook, for token: LookToken, _ now: Moment, _ effects: inout [Effect]) {
        guard token == outstanding else { return }
        outstanding = nil
        nextLook = now.uptime + policy.lookInterval
        lastLook = look
        seenLook = token.number
        tell(
            .survey(
                DeviceOccupancy(
                    revision: token.revision, devices: look.occupancy, occupants: look.occupants,
                    wanted: starting.union(startingSinceLook))), now, &effects)
        if mustLookAgain { requestLook(&effects) }
    }

    /// Nothing is given away and nothing is cleaned on old knowledge.
    mutating func lookFailed(_ token: LookToken, _ reason: String, _ now: Moment, _ effects: inout [Effect]) {
        guard token == outstanding else { return }
        outstanding = nil
        nextLook = now.uptime + policy.lookAgainAfter
        effects.append(.notice(.lookFailed(reason)))
        for request in requests where !request.isClaimed && request.look <= token.number {
            refuse(request.claim, .passing("the devices of this host cannot be looked at: \(reason)"), &effects)
        }
        if mustLookAgain { requestLook(&effects) }
    }

    /// What hangs has failed, and whatever it still does is nobody's answer.
    mutating func expire(_ now: Moment, _ effects: inout [Effect]) {
        for (job, deadline) in due.sorted(by: { $0.value < $1.value }) where deadline <= now.uptime {
            due[job] = nil
            effects.append(.abandon(job))
            tell(job.failure(after: policy.limit(of: job)), now, &effects)
        }
        for request in requests where request.deadline <= now.uptime {
            refuse(request.claim, .passing("its devices were not ready within \(policy.patience)"), &effects)
            // What it had claimed is nobody's now.
            requestLook(&effects)
        }
    }
}

/// The waits of a desk.
public struct DeviceDeskPolicy: Sendable {
    /// How often the host is looked over although nothing asks for it.
    public var lookInterval = Duration.seconds(30)
    /// How soon after a look that failed.
    public var lookAgainAfter = Duration.seconds(5)
    /// How long a start waits for its devices.
    public var patience = Duration.seconds(240)
    /// The kernel itself waits up to a minute for a device to answer after a reset.
    public var resetLimit = Duration.seconds(90)
    public var otherLimit = Duration.seconds(60)

    public init() {}

    func limit(of job: DeviceJob) -> Duration {
        if case .reset = job { resetLimit } else { otherLimit }
    }
}

/// Something done to devices that may hang.
public enum DeviceJob: Sendable, Hashable {
    case bind(DeviceClaim)
    case reset(String, UInt64)
    case verify(String, UInt64)
    case giveBack(String, UInt64)

    public init?(_ effect: DeviceLedger.Effect) {
        switch effect {
        case .bind(let claim, _): self = .bind(claim)
        case .reset(let address, let ticket): self = .reset(address, ticket)
        case .verify(let address, let ticket): self = .verify(address, ticket)
        case .giveBack(let address, let ticket): self = .giveBack(address, ticket)
        default: return nil
        }
    }

    init?(_ answer: DeviceLedger.Event) {
        switch answer {
        case .bound(let claim), .bindFailed(let claim, _): self = .bind(claim)
        case .reset(let address, let ticket, _): self = .reset(address, ticket)
        case .verified(let address, let ticket, _): self = .verify(address, ticket)
        case .returned(let address, let ticket, _): self = .giveBack(address, ticket)
        default: return nil
        }
    }

    func failure(after limit: Duration) -> DeviceLedger.Event {
        let late = "did not end within \(limit)"
        return switch self {
        case .bind(let claim): .bindFailed(claim, reason: "binding its devices to VFIO \(late)")
        case .reset(let address, let ticket): .reset(address, ticket: ticket, failure: "its reset \(late)")
        case .verify(let address, let ticket): .verified(address, ticket: ticket, failure: "reading it \(late)")
        case .giveBack(let address, let ticket):
            .returned(address, ticket: ticket, failure: "giving it back to the host \(late)")
        }
    }
}
