import ProtocolModel

/// What is seen of devices and of the domains that have them.
public struct DeviceOccupancy: Sendable, Equatable {
    public struct Device: Sendable, Equatable {
        /// Why no guest may have it; `nil`: one may.
        public var obstacle: String?
        /// What goes with it.
        public var companions: [String]
        /// A driver of the host has it, which it gets only once it was verified.
        public var isHostBound: Bool
        /// VFIO has it.
        public var isWithVFIO: Bool

        public init(
            obstacle: String? = nil, companions: [String] = [], isHostBound: Bool = false, isWithVFIO: Bool = false
        ) {
            self.obstacle = obstacle
            self.companions = companions
            self.isHostBound = isHostBound
            self.isWithVFIO = isWithVFIO
        }
    }

    public enum Occupant: Sendable, Equatable {
        case instance(DeviceClaim)
        /// A domain that is not Roost's, by name.
        case stranger(String)
    }

    /// The ledger's revision when looking began.
    public var revision: UInt64
    /// All devices on the bus.
    public var devices: [String: Device]
    /// Of each device that a domain has, or is being started with, which.
    public var occupants: [String: Occupant]
    /// Placements that are to run here; `nil`: it is not known.
    public var wanted: Set<DeviceClaim>?

    public init(
        revision: UInt64, devices: [String: Device], occupants: [String: Occupant] = [:], wanted: Set<DeviceClaim>?
    ) {
        self.revision = revision
        self.devices = devices
        self.occupants = occupants
        self.wanted = wanted
    }
}

/// What is seen wins over what was noted.
extension DeviceLedger {
    mutating func survey(_ seen: DeviceOccupancy, _ now: Timestamp, _ effects: inout [Effect]) {
        let isFirst = known == nil
        known = fresh(seen)
        noteOccupants(seen, now, &effects)
        noteEmpty(seen, now, &effects)
        readmitThoseBack(seen, now, &effects)
        noteMissing(now, &effects)
        guard isFirst else { return }
        // A pass that the last life of the process began.
        while let index = holds.firstIndex(where: { $0.isInterrupted }) { clean(index, now, &effects) }
        guard wasLost else { return }
        let unknown = seen.devices.filter { address, device in
            device.obstacle == nil && !device.isHostBound && quarantine[address] == nil
                && !holds.contains { $0.addresses.contains(address) }
        }
        if !unknown.isEmpty { cleanAbandoned(unknown.map(\.key), now, &effects) }
    }

    /// What was seen, but for the driver of what changed hands since looking began: of that the ledger knows better.
    private func fresh(_ seen: DeviceOccupancy) -> [String: DeviceOccupancy.Device] {
        var devices = seen.devices
        for (address, device) in known ?? [:] where isStale(address, seen) {
            devices[address]?.isWithVFIO = device.isWithVFIO
        }
        return devices
    }

    /// It changed hands after looking began.
    private func isStale(_ address: String, _ seen: DeviceOccupancy) -> Bool {
        touched[address].map { $0 > seen.revision } ?? false
    }

    private mutating func noteOccupants(_ seen: DeviceOccupancy, _ now: Timestamp, _ effects: inout [Effect]) {
        for (address, occupant) in seen.occupants.sorted(by: { $0.key < $1.key }) where !isStale(address, seen) {
            let index = holds.firstIndex { $0.addresses.contains(address) }
            switch occupant {
            case .instance(let claim) where index.map { holds[$0].claim == claim } ?? false:
                // Also where it was being cleaned: what has begun is broken off, and begins anew when the domain is gone.
                if let index, holds[index].state != .attached { change(index, to: .attached, now) }
            case .instance(let claim) where index == nil:
                adopt(address, claim, now)
            case .instance(let claim):
                occupy(address, "\(claim) has it without a claim", claim, now, &effects)
            case .stranger(let name):
                occupy(address, "the domain \(name), which is not Roost's, has it", nil, now, &effects)
            }
        }
    }

    /// The note of it was lost.
    private mutating func adopt(_ address: String, _ claim: DeviceClaim, _ now: Timestamp) {
        if let index = index(of: claim) {
            holds[index].addresses = (holds[index].addresses + [address]).sorted()
            change(index, to: .attached, now)
        } else {
            holds.append(DeviceHold(claim: claim, addresses: [address], state: .attached, since: now))
            touch([address])
        }
    }

    private mutating func occupy(
        _ address: String, _ reason: String, _ claim: DeviceClaim?, _ now: Timestamp, _ effects: inout [Effect]
    ) {
        guard quarantine[address]?.cause != .occupied else { return }
        setAside(address, .occupied, reason, claim, now, &effects)
        // Not another touch of a device that somebody has: those beside it in a pass begin theirs anew.
        if let index = holds.firstIndex(where: { $0.addresses.contains(address) }), holds[index].isCleaning {
            clean(index, now, &effects)
        }
    }

    private mutating func noteEmpty(_ seen: DeviceOccupancy, _ now: Timestamp, _ effects: inout [Effect]) {
        for claim in holds.compactMap(\.claim) {
            guard let wanted = seen.wanted, let index = index(of: claim), !holds[index].isCleaning,
                !holds[index].addresses.contains(where: { seen.occupants[$0] == .instance(claim) || isStale($0, seen) })
            else { continue }
            if !wanted.contains(claim) {
                clean(index, now, &effects)
            } else if holds[index].state == .attached {
                change(index, to: .claimed, now)
            }
        }
    }

    private mutating func readmitThoseBack(_ seen: DeviceOccupancy, _ now: Timestamp, _ effects: inout [Effect]) {
        for (address, found) in quarantine.sorted(by: { $0.key < $1.key }) where !isStale(address, seen) {
            let isBack =
                switch found.cause {
                case .failed: false
                case .missing: seen.devices[address] != nil
                case .occupied: seen.occupants[address] == nil
                }
            guard isBack else { continue }
            quarantine[address] = nil
            touch([address])
            guard let index = holds.firstIndex(where: { $0.addresses.contains(address) }) else {
                if isOurs(found, seen.devices[address]) { cleanAbandoned([address], now, &effects) }
                continue
            }
            if holds[index].isCleaning { clean(index, now, &effects) }
        }
    }

    /// Whether a device that is back was Roost's to clean. What another's domain had, the host may use again by now, or its
    /// owner keep for the next: nobody touches that before it is claimed.
    private func isOurs(_ found: DeviceQuarantine, _ device: DeviceOccupancy.Device?) -> Bool {
        guard found.cause == .occupied, found.claim == nil, let device else { return true }
        return device.obstacle == nil && !device.isHostBound && !device.isWithVFIO
    }

    private mutating func noteMissing(_ now: Timestamp, _ effects: inout [Effect]) {
        while let index = holds.firstIndex(where: { hold in
            hold.isCleaning && hold.addresses.contains { isGone($0) && quarantine[$0] == nil }
        }) { clean(index, now, &effects) }
    }
}

extension DeviceHold {
    /// Being cleaned, by nobody in this life of the process.
    var isInterrupted: Bool { if case .cleaning(let cleaning) = state { cleaning.ticket == 0 } else { false } }
}
