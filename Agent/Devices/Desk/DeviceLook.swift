public import ProtocolModel

/// Whose domain has which devices, as the hypervisor says.
public struct DeviceUse: Sendable, Equatable {
    public var occupant: DeviceOccupancy.Occupant
    public var addresses: [String]

    public init(_ occupant: DeviceOccupancy.Occupant, _ addresses: [String]) {
        self.occupant = occupant
        self.addresses = addresses
    }
}

/// One look at the devices of this host, and at the domains that have some.
public struct DeviceLook: Sendable, Equatable {
    /// Of all classes.
    public var devices: [SurveyedDevice]
    public var uses: [DeviceUse]

    public init(devices: [SurveyedDevice] = [], uses: [DeviceUse] = []) {
        self.devices = devices
        self.uses = uses
    }

    /// As the ledger sees it. What goes along with a device that a guest may have is judged with that one, not by itself: a
    /// GPU's audio function is of a class that nobody offers.
    var occupancy: [String: DeviceOccupancy.Device] {
        let goAlong = Set(devices.filter(\.offer.isUsable).flatMap(\.offer.companions))
        return Dictionary(
            devices.map { surveyed in
                let offer = surveyed.offer
                let isFree = offer.isUsable || goAlong.contains(offer.device.address)
                let driver = offer.device.driver
                return (
                    offer.device.address,
                    DeviceOccupancy.Device(
                        obstacle: isFree ? nil : offer.reasons.map(\.description).joined(separator: "; "),
                        companions: offer.companions,
                        isHostBound: driver.map { !DeviceOffers.harmlessDrivers.contains($0) } ?? false,
                        isWithVFIO: driver == DeviceBinding.driver)
                )
            }, uniquingKeysWith: { first, _ in first })
    }

    var occupants: [String: DeviceOccupancy.Occupant] {
        var occupants: [String: DeviceOccupancy.Occupant] = [:]
        for use in uses { for address in use.addresses { occupants[address] = use.occupant } }
        return occupants
    }

    /// These, and all that goes along with them.
    func withCompanions(_ addresses: [String]) -> [String] {
        var all: Set<String> = []
        var open = addresses
        let companions = Dictionary(
            devices.map { ($0.offer.device.address, $0.offer.companions) }, uniquingKeysWith: { first, _ in first })
        while let next = open.popLast() { if all.insert(next).inserted { open += companions[next] ?? [] } }
        return all.sorted()
    }

    /// The one NUMA node that all of these lie on.
    func numaNode(of addresses: [String]) -> Int? {
        let nodes = Set(devices.filter { addresses.contains($0.offer.device.address) }.map(\.offer.device.numaNode))
        return nodes.count == 1 ? nodes.first ?? nil : nil
    }
}

/// Devices that a start may use, all of them bound to VFIO.
public struct GrantedDevices: Sendable, Equatable {
    public var addresses: [String]
    /// Where all of them lie; `nil`: on several nodes, or it is not known.
    public var numaNode: Int?

    public init(addresses: [String], numaNode: Int? = nil) {
        self.addresses = addresses
        self.numaNode = numaNode
    }
}

/// What the ledger says of a device, for those who ask.
public struct DeviceStanding: Sendable, Equatable {
    public enum Hold: Sendable, Equatable {
        case claimed, attached, cleaning
    }

    /// `nil`: nobody holds it.
    public var hold: Hold?
    /// `nil`: nobody has it, or it is only being cleaned.
    public var claim: DeviceClaim?
    public var heldSince: Timestamp?
    public var quarantine: DeviceQuarantine?
}

extension LedgerContent {
    /// Of every device that there is something to say of.
    public var standings: [String: DeviceStanding] {
        var standings: [String: DeviceStanding] = [:]
        for (address, found) in quarantine { standings[address] = DeviceStanding(quarantine: found) }
        for hold in holds {
            let state: DeviceStanding.Hold =
                switch hold.state {
                case .claimed: .claimed
                case .attached: .attached
                case .cleaning: .cleaning
                }
            for address in hold.addresses {
                standings[address, default: DeviceStanding()].hold = state
                standings[address]?.claim = hold.claim
                standings[address]?.heldSince = hold.since
            }
        }
        return standings
    }
}
