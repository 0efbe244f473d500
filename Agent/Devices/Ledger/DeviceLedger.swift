public import ProtocolModel

/// Who has which device of this host, decided so that no guest ever gets one that is another's, or that was not reset and
/// verified since (P3, SEC-12, SEC-18). Pure: effects are carried out in their order, and answered by events.
///
/// Nothing is bound before the claim is on the disk. After a restart a claim whose domain is gone is cleaned unless it is
/// still wanted, and whatever was being cleaned is cleaned from the start.
public struct DeviceLedger: Sendable {
    public enum Event: Sendable, Equatable {
        /// An instance is to start with these devices. Repeating it is harmless.
        case claim(DeviceClaim, [String])
        case saved(revision: UInt64)
        case saveFailed(revision: UInt64, reason: String)
        case bound(DeviceClaim)
        case bindFailed(DeviceClaim, reason: String)
        case attached(DeviceClaim)
        /// The instance is not to run here any more: its domain is gone, and none is being started.
        case release(DeviceClaim)
        case reset(String, ticket: UInt64, failure: String?)
        case verified(String, ticket: UInt64, failure: String?)
        case returned(String, ticket: UInt64, failure: String?)
        case survey(DeviceOccupancy)
        /// A person has seen to a quarantined device.
        case readmit(String)
    }

    public enum Effect: Sendable, Equatable {
        case save(LedgerContent, revision: UInt64)
        case bind(DeviceClaim, [String])
        case grant(DeviceClaim)
        case refuse(DeviceClaim, DeviceRefusal)
        case reset(String, ticket: UInt64)
        case verify(String, ticket: UInt64)
        /// Give it back to the driver that the host has for it.
        case giveBack(String, ticket: UInt64)
        case freed([String])
        case quarantined(String, DeviceQuarantine)
        case readmissionRefused(String, reason: String)
    }

    public internal(set) var holds: [DeviceHold]
    public internal(set) var quarantine: [String: DeviceQuarantine]

    /// What the last survey saw; `nil` before the first, and then nothing is given away.
    var known: [String: DeviceOccupancy.Device]?
    /// Nothing is known of who had what: devices that VFIO still has are cleaned before anybody gets them.
    let wasLost: Bool
    /// Numbers the durable changes.
    public internal(set) var revision: UInt64 = 0
    var savedRevision: UInt64 = 0
    var isUnsaved = false
    /// When each device last changed hands, so that a survey from before says nothing about it.
    var touched: [String: UInt64] = [:]
    var tickets: UInt64 = 0
    /// Claims that are not on the disk yet.
    private var waiting: [(revision: UInt64, claim: DeviceClaim)] = []
    /// Claims whose devices are being bound, and those whose are.
    var binding: Set<DeviceClaim> = []
    var bound: Set<DeviceClaim> = []

    /// - Parameter content: what was kept; `nil` where it was lost. A new host has kept nothing, which is not lost.
    public init(_ content: LedgerContent?) {
        holds = (content?.holds ?? []).map(\.asKept)
        quarantine = content?.quarantine ?? [:]
        wasLost = content == nil
    }

    public var content: LedgerContent { LedgerContent(holds: holds, quarantine: quarantine) }

    public mutating func handle(_ event: Event, at now: Timestamp) -> [Effect] {
        let before = revision
        var effects: [Effect] = []
        switch event {
        case .claim(let claim, let addresses): take(claim, addresses, now, &effects)
        case .saved(let revision): saved(revision, &effects)
        case .saveFailed(let revision, let reason): saveFailed(revision, reason, &effects)
        case .bound(let claim):
            guard let hold = holds.first(where: { $0.claim == claim }), binding.remove(claim) != nil else { break }
            bound.insert(claim)
            grant(hold, claim, &effects)
        case .bindFailed(let claim, let reason):
            guard let index = index(of: claim), binding.remove(claim) != nil else { break }
            effects.append(.refuse(claim, .passing(reason)))
            if holds[index].state == .claimed { clean(index, now, &effects) }
        case .attached(let claim):
            if let index = index(of: claim), holds[index].state == .claimed { change(index, to: .attached, now) }
        case .release(let claim):
            if let index = index(of: claim), !holds[index].isCleaning { clean(index, now, &effects) }
        case .reset(let address, let ticket, let failure):
            answered(address, ticket, .resetting, failure, now, &effects)
        case .verified(let address, let ticket, let failure):
            answered(address, ticket, .verifying, failure, now, &effects)
        case .returned(let address, let ticket, let failure):
            answered(address, ticket, .returning, failure, now, &effects)
        case .survey(let occupancy): survey(occupancy, now, &effects)
        case .readmit(let address): readmit(address, now, &effects)
        }
        if revision != before || (isUnsaved && event.isSurvey) {
            isUnsaved = false
            // First, since what comes behind must find it done.
            effects.insert(.save(content, revision: revision), at: 0)
        }
        return effects
    }

    // MARK: Claims

    private mutating func take(
        _ claim: DeviceClaim, _ addresses: [String], _ now: Timestamp, _ effects: inout [Effect]
    ) {
        let addresses = Set(addresses).sorted()
        if let hold = holds.first(where: { $0.claim == claim }) {
            guard !hold.isCleaning, hold.addresses == addresses else {
                let refusal =
                    hold.isCleaning
                    ? DeviceRefusal.passing("its devices are being reset; try again shortly")
                    : .lasting(
                        "it has \(hold.addresses.joined(separator: ", ")) already; stop it before it gets others")
                effects.append(.refuse(claim, refusal))
                return
            }
            if hold.state == .attached { grant(hold, claim, &effects) } else { bindOnceSaved(claim, &effects) }
            return
        }
        if let refusal = obstacle(to: claim, addresses) {
            effects.append(.refuse(claim, refusal))
            return
        }
        holds.append(
            DeviceHold(
                claim: claim, addresses: addresses, state: .claimed, since: now,
                kept: Set(addresses.filter { known?[$0]?.isWithVFIO == true })))
        touch(addresses)
        waiting.append((revision, claim))
    }

    private func obstacle(to claim: DeviceClaim, _ addresses: [String]) -> DeviceRefusal? {
        guard let known else { return .passing("the agent has not looked at its devices yet; try again shortly") }
        guard !addresses.isEmpty else { return .lasting("no device is named") }
        if holds.contains(where: { $0.claim?.instance == claim.instance }) {
            return .passing("devices of its earlier placement are being given back; try again shortly")
        }
        for address in addresses {
            guard let device = known[address] else { return .lasting("there is no device \(address)") }
            if let obstacle = device.obstacle {
                return .lasting("device \(address) cannot be given to a guest: \(obstacle)")
            }
            if let found = quarantine[address] {
                return .lasting("device \(address) is out of service: \(found.reason)")
            }
            if let hold = holds.first(where: { $0.addresses.contains(address) }) {
                guard !hold.isCleaning else { return .passing("device \(address) is being reset; try again shortly") }
                return .lasting("device \(address) belongs to " + (hold.claim.map { "\($0)" } ?? "nobody yet"))
            }
            if let companion = device.companions.first(where: { !addresses.contains($0) }) {
                return .lasting(
                    "device \(address) goes only together with \(companion) of its IOMMU group; name both")
            }
        }
        return nil
    }

    /// Bound once, however often it is asked for: a second attempt that failed would take from a guest what the first gave.
    private mutating func bindOnceSaved(_ claim: DeviceClaim, _ effects: inout [Effect]) {
        guard let hold = holds.first(where: { $0.claim == claim }), !binding.contains(claim),
            !waiting.contains(where: { $0.claim == claim })
        else { return }
        if bound.contains(claim) { return grant(hold, claim, &effects) }
        if let trouble = trouble(of: hold) {
            effects.append(.refuse(claim, .lasting(trouble)))
        } else {
            binding.insert(claim)
            effects.append(.bind(claim, hold.addresses))
        }
    }

    private func grant(_ hold: DeviceHold, _ claim: DeviceClaim, _ effects: inout [Effect]) {
        effects.append(trouble(of: hold).map { .refuse(claim, .lasting($0)) } ?? .grant(claim))
    }

    /// What happened to a device after it was claimed.
    private func trouble(of hold: DeviceHold) -> String? {
        hold.addresses.lazy.compactMap { address in
            quarantine[address].map { "device \(address) is out of service: \($0.reason)" }
        }.first
    }

    // MARK: Durability

    private mutating func saved(_ revision: UInt64, _ effects: inout [Effect]) {
        savedRevision = max(savedRevision, revision)
        let ready = waiting.filter { $0.revision <= revision }
        waiting.removeAll { $0.revision <= revision }
        for (_, claim) in ready { bindOnceSaved(claim, &effects) }
    }

    /// A claim that is not on the disk is none. Everything else is safe unsaved: what the disk says then leads to a device
    /// being cleaned once more than it need be.
    private mutating func saveFailed(_ revision: UInt64, _ reason: String, _ effects: inout [Effect]) {
        isUnsaved = true
        let lost = waiting.filter { $0.revision <= revision }
        waiting.removeAll { $0.revision <= revision }
        for (_, claim) in lost {
            guard let index = index(of: claim), holds[index].state == .claimed else { continue }
            touch(holds[index].addresses)
            holds.remove(at: index)
            effects.append(.refuse(claim, .passing("the claim could not be kept on the disk: \(reason)")))
        }
    }

    // MARK: Changes

    func index(of claim: DeviceClaim) -> Int? { holds.firstIndex { $0.claim == claim } }

    mutating func touch(_ addresses: [String]) {
        revision += 1
        for address in addresses { touched[address] = revision }
    }

    mutating func change(_ index: Int, to state: DeviceHold.State, _ now: Timestamp) {
        holds[index].state = state
        holds[index].since = now
        touch(holds[index].addresses)
    }
}

extension DeviceLedger.Event {
    var isSurvey: Bool { if case .survey = self { true } else { false } }
}
