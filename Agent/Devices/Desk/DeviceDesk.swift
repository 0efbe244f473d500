public import ProtocolModel

/// Where guests' starts ask for devices, and their ends give them back: asks the ledger only when somebody has just looked at
/// the bus and at the domains, and sees to it that what hangs ends. Pure: effects are carried out in their order.
///
/// ```
/// a start    ──▶ look ──▶ claim, on the disk ──▶ bound to VFIO ──▶ granted ──▶ the domain starts
/// its end    ──▶ look, or removal of the domain ──▶ reset ──▶ verified ──▶ given back ──▶ free | out of service
/// ```
///
/// Whatever a domain's end was, the next look shows that it has its devices no more; only starts that are under way keep
/// devices without a domain.
public struct DeviceDesk: Sendable {
    public struct RequestID: Sendable, Hashable {
        let number: UInt64
        public init(_ number: UInt64) { self.number = number }
    }

    /// Tells the answer to a look from answers to others.
    public struct LookToken: Sendable, Hashable {
        let number: UInt64
        let revision: UInt64
    }

    public enum Event: Sendable {
        case began
        /// A start needs devices; answered by `Effect.grant` or `.refuse`.
        case wanted(RequestID, DeviceClaim, [String])
        /// The start that was granted devices has ended; whether a domain has them now.
        case startEnded(DeviceClaim, started: Bool)
        /// No domain of the instance exists; answered by `Effect.released` once its devices are free, or out of service.
        case releaseWanted(RequestID, InstanceID)
        /// A domain ended, or the hypervisor is back.
        case lookAgain
        case looked(LookToken, DeviceLook)
        case lookFailed(LookToken, reason: String)
        /// What the ledger asked for has been done, or has failed.
        case answered(DeviceLedger.Event)
        /// A person has seen to a device that is out of service.
        case readmit(String)
        case tick
    }

    public enum Effect: Sendable, Equatable {
        /// Look at the bus, and, where there is anything of interest or `mustAsk`, at the hypervisor's domains.
        case look(LookToken, mustAsk: Bool)
        /// One of `save`, `bind`, `reset`, `verify`, `giveBack`.
        case perform(DeviceLedger.Effect)
        /// Nobody waits for it any more: what of it was not begun is not to be done.
        case abandon(DeviceJob)
        case grant(RequestID, GrantedDevices)
        case refuse(RequestID, DeviceRefusal)
        case released(RequestID)
        /// The manager has something to be told.
        case changed
        case notice(Notice)
    }

    public enum Notice: Sendable, Equatable {
        case claimed(DeviceClaim, [String])
        case freed([String])
        case quarantined(String, DeviceQuarantine)
        case readmissionRefused(String, reason: String)
        case lookFailed(String)
    }

    struct Request: Sendable {
        let id: RequestID
        let claim: DeviceClaim
        let addresses: [String]
        /// Served after a look that began after the request.
        let look: UInt64
        let deadline: Uptime
        var isClaimed = false
    }

    let policy: DeviceDeskPolicy
    private(set) var ledger: DeviceLedger

    var requests: [Request] = []
    var releases: [(id: RequestID, instance: InstanceID)] = []
    /// Starts under way.
    var starting: Set<DeviceClaim> = []
    /// Those that were under way at some time since the outstanding look began: what it shows may be older than they are.
    var startingSinceLook: Set<DeviceClaim> = []

    var lastLook = DeviceLook()
    /// Of the last look that was answered.
    var seenLook: UInt64 = 0
    var looks: UInt64 = 0
    var outstanding: LookToken?
    var mustLookAgain = false
    var nextLook: Uptime?
    /// By when an answer is due, and what to make of it if none has come.
    var due: [DeviceJob: Uptime] = [:]
    private var told: [DeviceChange] = []

    public init(_ ledger: DeviceLedger, policy: DeviceDeskPolicy = DeviceDeskPolicy()) {
        self.ledger = ledger
        self.policy = policy
    }

    public var content: LedgerContent { ledger.content }

    /// When `Event.tick` is due, if nothing else happens before.
    public var nextWake: Uptime? {
        ([nextLook] + requests.map(\.deadline) + Array(due.values)).compactMap(\.self).min()
    }

    public mutating func handle(_ event: Event, at now: Moment) -> [Effect] {
        var effects: [Effect] = []
        switch event {
        case .began, .lookAgain: requestLook(&effects)
        case .wanted(let id, let claim, let addresses): want(id, claim, addresses, now, &effects)
        case .startEnded(let claim, let started): startEnded(claim, started, now, &effects)
        case .releaseWanted(let id, let instance): release(id, instance, now, &effects)
        case .looked(let token, let look): take(look, for: token, now, &effects)
        case .lookFailed(let token, let reason): lookFailed(token, reason, now, &effects)
        case .answered(let answer):
            if let job = DeviceJob(answer) { due[job] = nil }
            tell(answer, now, &effects)
        case .readmit(let address): tell(.readmit(address), now, &effects)
        case .tick:
            expire(now, &effects)
            if let nextLook, nextLook <= now.uptime { requestLook(&effects) }
        }
        serve(now, &effects)
        finishReleases(&effects)
        noteChanges(&effects)
        return effects
    }

    // MARK: Starts and ends

    private mutating func want(
        _ id: RequestID, _ claim: DeviceClaim, _ addresses: [String], _ now: Moment, _ effects: inout [Effect]
    ) {
        starting.insert(claim)
        startingSinceLook.insert(claim)
        requests.append(
            Request(
                id: id, claim: claim, addresses: addresses, look: looks + 1, deadline: now.uptime + policy.patience))
        requestLook(&effects)
    }

    private mutating func startEnded(
        _ claim: DeviceClaim, _ started: Bool, _ now: Moment, _ effects: inout [Effect]
    ) {
        starting.remove(claim)
        if started {
            tell(.attached(claim), now, &effects)
        } else {
            // It may run all the same: what a look shows counts.
            requestLook(&effects)
        }
    }

    private mutating func release(
        _ id: RequestID, _ instance: InstanceID, _ now: Moment, _ effects: inout [Effect]
    ) {
        releases.append((id, instance))
        for claim in ledger.holds.compactMap(\.claim) where claim.instance == instance && !starting.contains(claim) {
            tell(.release(claim), now, &effects)
        }
    }

    private mutating func finishReleases(_ effects: inout [Effect]) {
        let held = Set(ledger.holds.compactMap(\.claim?.instance))
        for release in releases where !held.contains(release.instance) { effects.append(.released(release.id)) }
        releases.removeAll { !held.contains($0.instance) }
    }

    /// Gives the ledger those requests whose time has come.
    private mutating func serve(_ now: Moment, _ effects: inout [Effect]) {
        for request in requests where !request.isClaimed && request.look <= seenLook {
            let addresses = lastLook.withCompanions(request.addresses)
            // What is being cleaned is waited for.
            if ledger.holds.contains(where: { hold in
                hold.isCleaning
                    && (hold.claim?.instance == request.claim.instance
                        || hold.addresses.contains(where: addresses.contains))
            }) {
                continue
            }
            if let hold = ledger.holds.first(where: { $0.claim?.instance == request.claim.instance }),
                hold.claim != request.claim || hold.addresses != addresses, hold.state == .claimed
            {
                // Of a start that came to nothing, and that wanted others.
                if let claim = hold.claim { tell(.release(claim), now, &effects) }
                continue
            }
            if let index = requests.firstIndex(where: { $0.id == request.id }) { requests[index].isClaimed = true }
            tell(.claim(request.claim, addresses), now, &effects)
        }
    }

    // MARK: The ledger

    mutating func tell(_ event: DeviceLedger.Event, _ now: Moment, _ effects: inout [Effect]) {
        for effect in ledger.handle(event, at: now.timestamp) {
            switch effect {
            case .save, .bind, .reset, .verify, .giveBack:
                if let job = DeviceJob(effect) { due[job] = now.uptime + policy.limit(of: job) }
                effects.append(.perform(effect))
            case .grant(let claim): grant(claim, &effects)
            case .refuse(let claim, let refusal): refuse(claim, refusal, &effects)
            case .freed(let addresses): effects.append(.notice(.freed(addresses)))
            case .quarantined(let address, let found): effects.append(.notice(.quarantined(address, found)))
            case .readmissionRefused(let address, let reason):
                effects.append(.notice(.readmissionRefused(address, reason: reason)))
            }
        }
    }

    private mutating func grant(_ claim: DeviceClaim, _ effects: inout [Effect]) {
        guard let hold = ledger.holds.first(where: { $0.claim == claim }),
            let request = requests.first(where: { $0.claim == claim && $0.isClaimed })
        else { return }
        requests.removeAll { $0.id == request.id }
        effects.append(.notice(.claimed(claim, hold.addresses)))
        effects.append(
            .grant(
                request.id,
                GrantedDevices(addresses: hold.addresses, numaNode: lastLook.numaNode(of: request.addresses))))
    }

    mutating func refuse(_ claim: DeviceClaim, _ refusal: DeviceRefusal, _ effects: inout [Effect]) {
        for request in requests where request.claim == claim {
            effects.append(.refuse(request.id, refusal))
        }
        requests.removeAll { $0.claim == claim }
        starting.remove(claim)
    }

    // MARK: Telling

    /// What of a device the manager is told.
    private struct DeviceChange: Sendable, Equatable {
        var device: SurveyedDevice?
        var standing: DeviceStanding?
    }

    private mutating func noteChanges(_ effects: inout [Effect]) {
        let standings = content.standings
        var known = Set<String>()
        var now = lastLook.devices.filter(\.offer.isOfInterest).map { device in
            known.insert(device.offer.device.address)
            return DeviceChange(device: device, standing: standings[device.offer.device.address])
        }
        now += standings.filter { !known.contains($0.key) }.sorted { $0.key < $1.key }
            .map { DeviceChange(device: nil, standing: $0.value) }
        guard now != told else { return }
        told = now
        effects.append(.changed)
    }
}
