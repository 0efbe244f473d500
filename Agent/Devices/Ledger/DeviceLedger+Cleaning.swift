import ProtocolModel

/// From a guest to the next: reset, verify, give back to the host. What fails on the way is out of service.
extension DeviceLedger {
    mutating func clean(_ index: Int, _ now: Timestamp, _ effects: inout [Effect]) {
        tickets += 1
        change(index, to: .cleaning(DeviceHold.Cleaning(phase: .resetting, pending: [], ticket: tickets)), now)
        let claim = holds[index].claim
        if let claim {
            binding.remove(claim)
            bound.remove(claim)
        }
        for address in holds[index].addresses where quarantine[address] == nil && isGone(address) {
            setAside(address, .missing, "it is gone from the bus", claim, now, &effects)
        }
        begin(.resetting, index, now, &effects)
    }

    func isGone(_ address: String) -> Bool { known.map { $0[address] == nil } ?? false }

    /// Devices that nobody has, to be cleaned before anybody gets them.
    mutating func cleanAbandoned(_ addresses: [String], _ now: Timestamp, _ effects: inout [Effect]) {
        holds.append(DeviceHold(claim: nil, addresses: addresses.sorted(), state: .claimed, since: now))
        clean(holds.count - 1, now, &effects)
    }

    mutating func answered(
        _ address: String, _ ticket: UInt64, _ phase: DeviceHold.Cleaning.Phase, _ failure: String?, _ now: Timestamp,
        _ effects: inout [Effect]
    ) {
        // An answer of a pass that was broken off says nothing about this one.
        guard let index = holds.firstIndex(where: { $0.addresses.contains(address) }),
            case .cleaning(var cleaning) = holds[index].state, cleaning.ticket == ticket, cleaning.phase == phase,
            cleaning.pending.remove(address) != nil
        else { return }
        holds[index].state = .cleaning(cleaning)
        if let failure { setAside(address, .failed, failure, holds[index].claim, now, &effects) }
        guard cleaning.pending.isEmpty else { return }
        switch phase {
        case .resetting: begin(.verifying, index, now, &effects)
        case .verifying: begin(.returning, index, now, &effects)
        case .returning: free(index, &effects)
        }
    }

    /// The next step of all devices of a hold that are not set aside.
    private mutating func begin(
        _ phase: DeviceHold.Cleaning.Phase, _ index: Int, _ now: Timestamp, _ effects: inout [Effect]
    ) {
        guard case .cleaning(var cleaning) = holds[index].state else { return }
        var addresses = holds[index].addresses.filter { quarantine[$0] == nil }
        if phase == .returning { addresses.removeAll(where: holds[index].kept.contains) }
        cleaning.phase = phase
        cleaning.pending = Set(addresses)
        holds[index].state = .cleaning(cleaning)
        guard !addresses.isEmpty else { return free(index, &effects) }
        effects += addresses.map { address in
            switch phase {
            case .resetting: .reset(address, ticket: cleaning.ticket)
            case .verifying: .verify(address, ticket: cleaning.ticket)
            case .returning: .giveBack(address, ticket: cleaning.ticket)
            }
        }
    }

    private mutating func free(_ index: Int, _ effects: inout [Effect]) {
        let hold = holds.remove(at: index)
        touch(hold.addresses)
        let free = hold.addresses.filter { quarantine[$0] == nil }
        // What the last survey saw of the driver was from before, and a claim that comes now is made by it.
        for address in free { known?[address]?.isWithVFIO = hold.kept.contains(address) }
        if !free.isEmpty { effects.append(.freed(free)) }
    }

    mutating func setAside(
        _ address: String, _ cause: DeviceQuarantine.Cause, _ reason: String, _ claim: DeviceClaim?, _ now: Timestamp,
        _ effects: inout [Effect]
    ) {
        let found = DeviceQuarantine(cause: cause, reason: reason, claim: claim, since: now)
        quarantine[address] = found
        touch([address])
        effects.append(.quarantined(address, found))
    }

    mutating func readmit(_ address: String, _ now: Timestamp, _ effects: inout [Effect]) {
        func refuse(_ reason: String) { effects.append(.readmissionRefused(address, reason: reason)) }
        guard let found = quarantine[address] else { return refuse("it is not out of service") }
        guard found.cause == .failed else { return refuse(found.reason) }
        guard let device = known?[address] else { return refuse("it is gone from the bus") }
        // Its reset may reach those that go with it.
        for other in [address] + device.companions {
            if let hold = holds.first(where: { $0.addresses.contains(other) }) {
                return refuse(
                    "\(other) belongs to " + (hold.claim.map { "\($0)" } ?? "nobody yet") + "; stop that first")
            }
        }
        quarantine[address] = nil
        cleanAbandoned([address], now, &effects)
    }
}
