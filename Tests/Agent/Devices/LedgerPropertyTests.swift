import ProtocolModel
import Testing
import TestsSupportRandomness

@testable import AgentDevices

/// A host on which everything happens at the worst moment: guests come and go, devices lie about their reset or are pulled
/// out, the disk fails, and the agent dies between any two steps.
private struct World {
    struct Card {
        /// Whose data is in it.
        var last: InstanceID?
        var isPlugged = true
        /// Its reset does nothing, and reading it tells so.
        var isBroken = false
    }

    static let groups = [["0000:01:00.0", "0000:01:00.1"], ["0000:02:00.0"], ["0000:03:00.0"]]

    var random: SeededNumbers
    var cards: [String: Card] = [:]
    var ledger = DeviceLedger(LedgerContent())
    /// The disk.
    var kept: LedgerContent? = LedgerContent()
    var queue: [DeviceLedger.Effect] = []
    var wanted: [DeviceClaim: [String]] = [:]
    var domains: [DeviceClaim: [String]] = [:]
    var epochs: [Int: UInt64] = [:]
    var problems: [String] = []
    var grants = 0
    var faults = true

    init(seed: UInt64) {
        random = SeededNumbers(state: seed)
        for address in Self.groups.joined() { cards[address] = Card() }
        survey()
    }

    var now: Timestamp { Timestamp(milliseconds: 0) }

    mutating func chance(_ percent: Int) -> Bool { faults && Int.random(in: 0..<100, using: &random) < percent }

    mutating func tell(_ event: DeviceLedger.Event) { queue += ledger.handle(event, at: now) }

    mutating func survey() {
        var devices: [String: DeviceOccupancy.Device] = [:]
        for group in Self.groups {
            for address in group where cards[address]?.isPlugged == true {
                devices[address] = DeviceOccupancy.Device(companions: group.filter { $0 != address })
            }
        }
        var occupants: [String: DeviceOccupancy.Occupant] = [:]
        for (claim, addresses) in domains { for address in addresses { occupants[address] = .instance(claim) } }
        tell(
            .survey(
                DeviceOccupancy(
                    revision: ledger.revision, devices: devices, occupants: occupants, wanted: Set(wanted.keys))))
    }

    /// The agent is killed, and starts again.
    mutating func crash() {
        queue = []
        ledger = DeviceLedger(kept)
        survey()
    }

    mutating func performNext() {
        guard !queue.isEmpty else { return }
        switch queue.removeFirst() {
        case .save(let content, let revision):
            // Killed just before or just behind it.
            if chance(3) { return crash() }
            if chance(5) { return tell(.saveFailed(revision: revision, reason: "no space")) }
            kept = content
            if chance(3) { return crash() }
            tell(.saved(revision: revision))
        case .bind(let claim, _):
            tell(chance(10) ? .bindFailed(claim, reason: "busy") : .bound(claim))
        case .grant(let claim): start(claim)
        case .reset(let address, let ticket):
            guard let card = cards[address], card.isPlugged else {
                return tell(.reset(address, ticket: ticket, failure: "gone"))
            }
            check(domains.allSatisfy { !$0.value.contains(address) }, "\(address) is reset under a guest")
            if chance(5) { return tell(.reset(address, ticket: ticket, failure: "it failed")) }
            if chance(10) { cards[address]?.isBroken = true }
            if cards[address]?.isBroken == false { cards[address]?.last = nil }
            tell(.reset(address, ticket: ticket, failure: nil))
        case .verify(let address, let ticket):
            let isFit = cards[address].map { $0.isPlugged && !$0.isBroken } ?? false
            tell(.verified(address, ticket: ticket, failure: isFit ? nil : "it does not answer"))
        case .giveBack(let address, let ticket): tell(.returned(address, ticket: ticket, failure: nil))
        case .refuse(let claim, _):
            // As the manager does: it places the instance anew.
            if domains[claim] == nil { wanted[claim] = nil }
        case .quarantined, .freed, .readmissionRefused: break
        }
    }

    mutating func start(_ claim: DeviceClaim) {
        guard let addresses = wanted[claim], domains[claim] == nil else { return }
        for address in addresses {
            guard let card = cards[address] else { continue }
            check(card.last == nil || card.last == claim.instance, "\(address) has another guest's data")
            check(!card.isBroken, "\(address) was never reset")
            check(domains.allSatisfy { !$0.value.contains(address) }, "\(address) is given to two guests")
            check(
                kept?.holds.contains { $0.claim == claim && $0.addresses.contains(address) } == true,
                "\(address) is given away without a note on the disk")
            if !card.isPlugged { return }
        }
        grants += 1
        for address in addresses { cards[address]?.last = claim.instance }
        domains[claim] = addresses
        tell(.attached(claim))
    }

    mutating func check(_ holds: Bool, _ what: String) { if !holds { problems.append(what) } }

    mutating func step() {
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<55: for _ in 0..<Int.random(in: 1...6, using: &random) { performNext() }
        case 55..<70:
            let number = Int.random(in: 1...6, using: &random)
            if !wanted.keys.contains(where: { $0.instance == DeviceLedgerTests.claim(number).instance }) {
                let claim = DeviceLedgerTests.claim(number, epoch: epochs[number, default: 0] + 1)
                epochs[number] = claim.epoch.value
                wanted[claim] = Self.groups.randomElement(using: &random)!
            }
            for (claim, addresses) in wanted.sorted(by: { $0.key.description < $1.key.description })
            where domains[claim] == nil { tell(.claim(claim, addresses)) }
        case 70..<80:
            // Stopped: first the domain ends, then it is told.
            guard let claim = wanted.keys.sorted(by: { $0.description < $1.description }).randomElement(using: &random)
            else { return }
            wanted[claim] = nil
            domains[claim] = nil
            if !chance(20) { tell(.release(claim)) }
        case 80..<84:
            // The guest shuts itself down, or dies.
            if let claim = domains.keys.sorted(by: { $0.description < $1.description }).randomElement(using: &random) {
                domains[claim] = nil
            }
        case 84..<94: survey()
        case 94..<97: if faults { crash() }
        case 97..<99:
            guard let address = cards.keys.sorted().randomElement(using: &random) else { return }
            if cards[address]?.isPlugged == false {
                cards[address]?.isPlugged = true
            } else if chance(30) {
                cards[address]?.isPlugged = false
                for (claim, addresses) in domains where addresses.contains(address) { domains[claim] = nil }
            }
        default: repair()
        }
    }

    /// A person sees to what is out of service.
    mutating func repair() {
        for address in ledger.quarantine.keys.sorted() {
            cards[address]?.isBroken = false
            tell(.readmit(address))
        }
    }

    /// Everybody stops, nothing fails any more: whatever was used is free again.
    mutating func settle() {
        faults = false
        for address in cards.keys { cards[address]?.isPlugged = true }
        wanted = [:]
        domains = [:]
        for _ in 0..<6 {
            survey()
            while !queue.isEmpty { performNext() }
            repair()
            while !queue.isEmpty { performNext() }
        }
    }
}

@Suite("the ledger of devices, whatever happens")
struct LedgerPropertyTests {
    @Test("no guest gets a device that is another's, or was not cleaned since, and none is lost", arguments: 1...60)
    func safety(_ seed: UInt64) {
        var world = World(seed: seed)
        for _ in 0..<1500 { world.step() }
        #expect(world.problems == [], "seed \(seed)")
        #expect(world.grants > 10, "seed \(seed): nothing happened")
        world.settle()
        #expect(world.ledger.holds == [] && world.ledger.quarantine == [:], "seed \(seed): \(world.ledger.content)")
        #expect(world.cards.values.allSatisfy { $0.last == nil }, "seed \(seed)")
        #expect(world.kept == world.ledger.content, "seed \(seed)")
    }

    /// One guest's life, with the agent killed after each of its steps in turn.
    @Test("killed at any step, the agent finds its way back", arguments: 0..<24)
    func everyStep(_ killed: Int) {
        var world = World(seed: 1)
        world.faults = false
        let claim = DeviceLedgerTests.claim(1)
        var steps = 0
        func live(_ world: inout World) {
            while !world.queue.isEmpty {
                if steps == killed { world.crash() }
                steps += 1
                world.performNext()
            }
        }
        world.wanted[claim] = World.groups[0]
        world.tell(.claim(claim, World.groups[0]))
        live(&world)
        // After a restart the instance is asked for again.
        world.tell(.claim(claim, World.groups[0]))
        live(&world)
        #expect(world.domains[claim] != nil)
        world.wanted = [:]
        world.domains = [:]
        world.tell(.release(claim))
        live(&world)
        #expect(world.ledger.holds == [] && world.ledger.quarantine == [:])
        #expect(world.cards.values.allSatisfy { $0.last == nil })
        #expect(world.problems == [])
    }
}
