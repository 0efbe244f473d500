import ProtocolModel
import Testing
import TestsSupportRandomness

@testable import AgentDevices

/// A host on which starts, ends, looks and cleaning overlap in every order, libvirt starts domains late, and the agent dies.
private struct DeskWorld {
    static let groups = [["0000:01:00.0", "0000:01:00.1"], ["0000:02:00.0"], ["0000:03:00.0"]]

    struct Start {
        enum Phase { case asked, granted, running }
        var phase = Phase.asked
        var addresses: [String]
    }

    var random: SeededNumbers
    var desk = DeviceDesk(DeviceLedger(LedgerContent()))
    var kept = LedgerContent()
    var uptime = Uptime(sinceStart: .zero)
    /// Effects that nobody has carried out yet; a look has what it saw once it was taken.
    var pending: [(effect: DeviceDesk.Effect, look: DeviceLook?)] = []
    var dirty: [String: InstanceID] = [:]
    var starts: [DeviceClaim: Start] = [:]
    var domains: [DeviceClaim: [String]] = [:]
    var requests: [DeviceDesk.RequestID: DeviceClaim] = [:]
    var lastRequest: UInt64 = 0
    var epochs: [Int: UInt64] = [:]
    var removals: Set<InstanceID> = []
    var releases: [DeviceDesk.RequestID: InstanceID] = [:]
    var problems: [String] = []
    var grants = 0
    var faults = true

    init(seed: UInt64) {
        random = SeededNumbers(state: seed)
        tell(.began)
    }

    mutating func chance(_ percent: Int) -> Bool { faults && Int.random(in: 0..<100, using: &random) < percent }

    mutating func check(_ holds: Bool, _ what: String) { if !holds { problems.append(what) } }

    mutating func tell(_ event: DeviceDesk.Event) {
        for effect in desk.handle(event, at: Moment(timestamp: Timestamp(milliseconds: 0), uptime: uptime)) {
            // As the daemon does: kept before anything that comes behind it.
            if case .perform(.save(let content, let revision)) = effect {
                if chance(3) {
                    pending.append((.perform(effectOfFailure(revision)), nil))
                } else {
                    kept = content
                    pending.append((effect, nil))
                }
            } else {
                pending.append((effect, nil))
            }
        }
    }

    /// A save that did not come to be, told as one of revision 0 content.
    private func effectOfFailure(_ revision: UInt64) -> DeviceLedger.Effect {
        .refuse(DeviceLedgerTests.claim(999, epoch: revision), .passing("no space"))
    }

    var look: DeviceLook {
        let devices = Self.groups.flatMap { group in
            group.map { address in
                DeviceDeskTests.surveyed(address, with: group.filter { $0 != address })
            }
        }
        return DeviceLook(devices: devices, uses: domains.map { DeviceUse(.instance($0.key), $0.value) })
    }

    mutating func perform(at index: Int) {
        let (effect, look) = pending.remove(at: index)
        switch effect {
        case .look(let token, _):
            if let look {
                tell(.looked(token, look))
            } else if chance(5) {
                tell(.lookFailed(token, reason: "libvirt does not answer"))
            } else {
                // Seen now, and told later.
                pending.append((effect, self.look))
            }
        case .perform(let effect): perform(effect)
        // Told too late: what hung in the kernel goes on, and its answer is nobody's.
        case .abandon: break
        case .grant(let id, let granted):
            guard let claim = requests.removeValue(forKey: id) else { return }
            for address in granted.addresses {
                check(dirty[address].map { $0 == claim.instance } ?? true, "\(address) has another guest's data")
                check(
                    kept.holds.contains { $0.claim == claim && $0.addresses.contains(address) },
                    "\(address) is given away without a note on the disk")
            }
            grants += 1
            starts[claim] = Start(phase: .granted, addresses: granted.addresses)
        case .refuse(let id, _):
            if let claim = requests.removeValue(forKey: id) { starts[claim] = nil }
        case .released(let id):
            if let instance = releases.removeValue(forKey: id) { removals.remove(instance) }
        case .changed, .notice: break
        }
    }

    mutating func perform(_ effect: DeviceLedger.Effect) {
        switch effect {
        case .save(_, let revision): tell(.answered(.saved(revision: revision)))
        case .refuse(let claim, _):
            tell(.answered(.saveFailed(revision: claim.epoch.value, reason: "no space")))
        case .bind(let claim, _):
            tell(.answered(chance(5) ? .bindFailed(claim, reason: "busy") : .bound(claim)))
        case .reset(let address, let ticket):
            // The kernel does one after the other: what hung before is over.
            pending.removeAll { pending in
                if case .perform(.reset(address, let earlier)) = pending.effect { earlier < ticket } else { false }
            }
            check(!domains.values.contains { $0.contains(address) }, "\(address) is reset under a guest")
            check(
                !starts.values.contains { $0.phase == .granted && $0.addresses.contains(address) },
                "\(address) is reset under a start")
            if chance(5) { return tell(.answered(.reset(address, ticket: ticket, failure: "it failed"))) }
            dirty[address] = nil
            tell(.answered(.reset(address, ticket: ticket, failure: nil)))
        case .verify(let address, let ticket): tell(.answered(.verified(address, ticket: ticket, failure: nil)))
        case .giveBack(let address, let ticket): tell(.answered(.returned(address, ticket: ticket, failure: nil)))
        default: break
        }
    }

    mutating func ask() {
        let number = Int.random(in: 1...5, using: &random)
        let instance = DeviceLedgerTests.claim(number).instance
        guard !removals.contains(instance), !starts.keys.contains(where: { $0.instance == instance }),
            !domains.keys.contains(where: { $0.instance == instance })
        else { return }
        if chance(50) { epochs[number, default: 0] += 1 }
        let claim = DeviceLedgerTests.claim(number, epoch: max(1, epochs[number] ?? 1))
        lastRequest += 1
        let id = DeviceDesk.RequestID(lastRequest)
        requests[id] = claim
        starts[claim] = Start(addresses: [])
        tell(.wanted(id, claim, [Self.groups.randomElement(using: &random)![0]]))
    }

    mutating func step() {
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<60:
            guard !pending.isEmpty else { return }
            perform(at: Int.random(in: 0..<pending.count, using: &random))
        case 60..<70: ask()
        case 70..<82:
            // A start goes on: libvirt makes the domain, or not, and only then is that told.
            let claims = starts.keys.sorted { $0.description < $1.description }
            guard let claim = claims.randomElement(using: &random), let start = starts[claim] else { return }
            switch start.phase {
            case .asked: return
            case .granted:
                if chance(20) {
                    starts[claim] = nil
                    tell(.startEnded(claim, started: false))
                } else {
                    for address in start.addresses {
                        check(
                            !domains.values.contains { $0.contains(address) }, "\(address) is given to two guests")
                        dirty[address] = claim.instance
                    }
                    domains[claim] = start.addresses
                    starts[claim]?.phase = .running
                }
            case .running:
                starts[claim] = nil
                tell(.startEnded(claim, started: !chance(20)))
            }
        case 82..<90:
            // A guest ends by itself, and libvirt tells, or the agent was deaf.
            guard let claim = domains.keys.sorted(by: { $0.description < $1.description }).randomElement(using: &random)
            else { return }
            domains[claim] = nil
            if chance(70) { tell(.lookAgain) }
        case 90..<95:
            // The reconciler removes the domain of a guest, and waits for its devices.
            guard
                let claim = domains.keys.sorted(by: { $0.description < $1.description }).randomElement(using: &random),
                starts[claim] == nil, removals.insert(claim.instance).inserted
            else { return }
            domains[claim] = nil
            lastRequest += 1
            releases[DeviceDesk.RequestID(lastRequest)] = claim.instance
            tell(.releaseWanted(DeviceDesk.RequestID(lastRequest), claim.instance))
        case 95..<98:
            uptime = uptime + .seconds(Int64.random(in: 1...20, using: &random))
            tell(.tick)
        case 98: if faults, chance(50) { crash() }
        default: for address in desk.content.quarantine.keys.sorted() { tell(.readmit(address)) }
        }
    }

    /// The agent is killed, and starts again; what libvirt was told before it does all the same.
    mutating func crash() {
        pending = []
        requests = [:]
        releases = [:]
        removals = []
        starts = [:]
        desk = DeviceDesk(DeviceLedger(kept))
        tell(.began)
    }

    mutating func settle() {
        faults = false
        starts = [:]
        domains = [:]
        crash()
        for _ in 0..<6 {
            while !pending.isEmpty { perform(at: 0) }
            for address in desk.content.quarantine.keys.sorted() { tell(.readmit(address)) }
            while !pending.isEmpty { perform(at: 0) }
            uptime = uptime + .seconds(100)
            tell(.tick)
        }
        while !pending.isEmpty { perform(at: 0) }
    }
}

@Suite("the desk of devices, in whatever order things happen")
struct DeskPropertyTests {
    @Test("no device is another's, or reset under a guest or a start, and none is lost", arguments: 1...40)
    func safety(_ seed: UInt64) {
        var world = DeskWorld(seed: seed)
        for _ in 0..<2500 { world.step() }
        #expect(world.problems.isEmpty, "seed \(seed): \(world.problems.prefix(3))")
        #expect(world.grants > 10, "seed \(seed): nothing happened")
        world.settle()
        #expect(world.desk.content == LedgerContent(), "seed \(seed): \(world.desk.content)")
        #expect(world.dirty == [:], "seed \(seed)")
    }
}
