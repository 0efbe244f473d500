import AgentDurability
import Foundation
import ProtocolModel
import Testing
import TestsSupportFiles

@testable import AgentDevices

@Suite("the ledger of devices")
struct DeviceLedgerTests {
    static let gpu = "0000:3b:00.0"
    static let audio = "0000:3b:00.1"
    static let other = "0000:b0:00.0"
    static let at = Timestamp(milliseconds: 1_000)

    static func claim(_ number: Int, epoch: UInt64 = 1) -> DeviceClaim {
        let text = "018f0000-0000-7000-8000-" + String(repeating: "0", count: 12 - "\(number)".count) + "\(number)"
        return DeviceClaim(instance: InstanceID(text)!, epoch: Epoch(epoch))
    }

    static let devices: [String: DeviceOccupancy.Device] = [
        gpu: DeviceOccupancy.Device(companions: [audio]), audio: DeviceOccupancy.Device(companions: [gpu]),
        other: DeviceOccupancy.Device(),
        "0000:00:02.0": DeviceOccupancy.Device(obstacle: "it is the host's boot display"),
    ]

    /// A ledger that has looked around, with its effects at hand.
    struct Desk {
        var ledger: DeviceLedger
        var effects: [DeviceLedger.Effect] = []

        init(_ content: LedgerContent? = LedgerContent(), wanted: Set<DeviceClaim>? = []) {
            ledger = DeviceLedger(content)
            survey(wanted: wanted)
        }

        mutating func handle(_ event: DeviceLedger.Event) {
            effects = ledger.handle(event, at: DeviceLedgerTests.at)
            for case .save(_, let revision) in effects {
                effects += ledger.handle(.saved(revision: revision), at: DeviceLedgerTests.at)
            }
        }

        mutating func survey(
            _ devices: [String: DeviceOccupancy.Device] = DeviceLedgerTests.devices,
            occupants: [String: DeviceOccupancy.Occupant] = [:], wanted: Set<DeviceClaim>? = []
        ) {
            handle(
                .survey(
                    DeviceOccupancy(
                        revision: ledger.revision, devices: devices, occupants: occupants, wanted: wanted)))
        }

        /// Answers what is asked of devices until nothing is, and tells what was asked.
        mutating func work(
            failing: (DeviceLedger.Effect) -> String? = { _ in nil }
        ) -> [DeviceLedger.Effect] {
            var asked: [DeviceLedger.Effect] = []
            var queue = effects
            while !queue.isEmpty {
                let effect = queue.removeFirst()
                asked.append(effect)
                switch effect {
                case .reset(let address, let ticket):
                    handle(.reset(address, ticket: ticket, failure: failing(effect)))
                case .verify(let address, let ticket):
                    handle(.verified(address, ticket: ticket, failure: failing(effect)))
                case .giveBack(let address, let ticket):
                    handle(.returned(address, ticket: ticket, failure: failing(effect)))
                default: continue
                }
                queue += effects
            }
            return asked
        }

        var refusal: String? {
            for case .refuse(_, let refusal) in effects { return refusal.description }
            return nil
        }
    }

    private func attached(_ claim: DeviceClaim, _ addresses: [String]) -> Desk {
        var desk = Desk()
        desk.handle(.claim(claim, addresses))
        desk.handle(.bound(claim))
        desk.handle(.attached(claim))
        return desk
    }

    @Test("nothing is bound before the claim is on the disk")
    func durable() {
        var desk = Desk()
        let claim = Self.claim(1)
        let first = desk.ledger.handle(.claim(claim, [Self.audio, Self.gpu]), at: Self.at)
        #expect(first == [.save(desk.ledger.content, revision: desk.ledger.revision)])
        #expect(desk.ledger.handle(.claim(claim, [Self.gpu, Self.audio]), at: Self.at) == [])
        #expect(
            desk.ledger.handle(.saved(revision: desk.ledger.revision), at: Self.at) == [
                .bind(claim, [Self.gpu, Self.audio])
            ])
        #expect(desk.ledger.handle(.bound(claim), at: Self.at) == [.grant(claim)])
    }

    @Test("a claim that the disk did not take is refused, and leaves the device free")
    func diskFull() {
        var desk = Desk()
        _ = desk.ledger.handle(.claim(Self.claim(1), [Self.other]), at: Self.at)
        desk.effects = desk.ledger.handle(
            .saveFailed(revision: desk.ledger.revision, reason: "no space"), at: Self.at)
        #expect(desk.refusal == "the claim could not be kept on the disk: no space")
        desk.handle(.claim(Self.claim(2), [Self.other]))
        #expect(desk.effects.contains(.bind(Self.claim(2), [Self.other])))
    }

    @Test("a device goes to one claim alone, with all that goes with it, and only if it can")
    func refusals() {
        var desk = attached(Self.claim(1), [Self.other])
        func refusal(_ addresses: [String], _ claim: DeviceClaim = Self.claim(2)) -> String? {
            desk.handle(.claim(claim, addresses))
            return desk.refusal
        }
        #expect(refusal([Self.other]) == "device \(Self.other) belongs to \(Self.claim(1))")
        #expect(
            refusal([Self.gpu])
                == "device \(Self.gpu) goes only together with \(Self.audio) of its IOMMU group; name both")
        #expect(
            refusal(["0000:00:02.0"])
                == "device 0000:00:02.0 cannot be given to a guest: it is the host's boot display")
        #expect(refusal(["0000:99:00.0"]) == "there is no device 0000:99:00.0")
        #expect(refusal([]) == "no device is named")
        #expect(
            refusal([Self.gpu, Self.audio], Self.claim(1, epoch: 2))
                == "devices of its earlier placement are being given back; try again shortly")
        #expect(refusal([Self.gpu, Self.audio]) == nil)
        var early = DeviceLedger(LedgerContent())
        #expect(
            early.handle(.claim(Self.claim(1), [Self.other]), at: Self.at) == [
                .refuse(
                    Self.claim(1), .passing("the agent has not looked at its devices yet; try again shortly"))
            ])
    }

    @Test("after a guest, a device is reset, verified and given back before it is free")
    func cleaning() {
        var desk = attached(Self.claim(1), [Self.gpu, Self.audio])
        desk.handle(.release(Self.claim(1)))
        var kinds: [String] = []
        for effect in desk.work() {
            switch effect {
            case .reset: kinds.append("reset")
            case .verify: kinds.append("verify")
            case .giveBack: kinds.append("give back")
            case .freed(let addresses): kinds.append("free \(addresses.count)")
            default: break
            }
        }
        #expect(kinds == ["reset", "reset", "verify", "verify", "give back", "give back", "free 2"])
        desk.handle(.claim(Self.claim(2), [Self.gpu, Self.audio]))
        #expect(desk.refusal == nil)
    }

    @Test("while one of the devices is not verified, the other is not free either")
    func together() {
        var desk = attached(Self.claim(1), [Self.gpu, Self.audio])
        desk.handle(.release(Self.claim(1)))
        desk.handle(.reset(Self.gpu, ticket: 1, failure: nil))
        #expect(desk.effects == [])
        desk.handle(.claim(Self.claim(2), [Self.gpu, Self.audio]))
        #expect(desk.refusal == "device \(Self.gpu) is being reset; try again shortly")
    }

    @Test("a device that fails at any step is out of service until a person readmits it", arguments: [0, 1, 2])
    func quarantine(_ step: Int) {
        var desk = attached(Self.claim(1), [Self.other])
        desk.handle(.release(Self.claim(1)))
        let asked = desk.work { effect in
            switch effect {
            case .reset where step == 0, .verify where step == 1, .giveBack where step == 2: "it hangs"
            default: nil
            }
        }
        #expect(!asked.contains { if case .freed = $0 { true } else { false } })
        #expect(desk.ledger.quarantine[Self.other]?.claim == Self.claim(1))
        desk.handle(.claim(Self.claim(2), [Self.other]))
        #expect(desk.refusal == "device \(Self.other) is out of service: it hangs")
        // Also after a restart.
        desk = Desk(desk.ledger.content)
        desk.handle(.claim(Self.claim(2), [Self.other]))
        #expect(desk.refusal == "device \(Self.other) is out of service: it hangs")
        desk.handle(.readmit(Self.other))
        #expect(desk.work().contains(.freed([Self.other])))
        desk.handle(.claim(Self.claim(2), [Self.other]))
        #expect(desk.refusal == nil)
    }

    @Test("a device is not readmitted while what its reset may reach belongs to somebody")
    func readmission() {
        var desk = attached(Self.claim(1), [Self.gpu, Self.audio])
        desk.survey(
            occupants: [Self.gpu: .instance(Self.claim(1)), Self.audio: .stranger("vm7")], wanted: [Self.claim(1)])
        #expect(desk.ledger.quarantine[Self.audio]?.cause == .occupied)
        desk.handle(.readmit(Self.audio))
        #expect(
            desk.effects == [
                .readmissionRefused(
                    Self.audio, reason: "the domain vm7, which is not Roost's, has it")
            ])
        desk.handle(.readmit(Self.other))
        #expect(desk.effects == [.readmissionRefused(Self.other, reason: "it is not out of service")])
    }

    @Test("an answer of a pass that was broken off does not count")
    func stale() {
        var desk = attached(Self.claim(1), [Self.other])
        desk.handle(.release(Self.claim(1)))
        #expect(desk.effects.contains(.reset(Self.other, ticket: 1)))
        desk.survey(occupants: [Self.other: .instance(Self.claim(1))])
        desk.survey()
        #expect(desk.effects.contains(.reset(Self.other, ticket: 2)))
        desk.handle(.reset(Self.other, ticket: 1, failure: nil))
        #expect(desk.effects == [])
        desk.handle(.verified(Self.other, ticket: 2, failure: nil))
        #expect(desk.effects == [])
    }

    @Test("after a restart, a claim is kept while it is wanted or has a domain, and cleaned otherwise")
    func restart() {
        let content = attached(Self.claim(1), [Self.other]).ledger.content
        var wanted = Desk(content, wanted: [Self.claim(1)])
        #expect(wanted.ledger.holds.map(\.state) == [.claimed])
        wanted.handle(.claim(Self.claim(1), [Self.other]))
        #expect(wanted.effects.contains(.bind(Self.claim(1), [Self.other])))

        var running = DeviceLedger(content)
        _ = running.handle(
            .survey(
                DeviceOccupancy(
                    revision: 0, devices: Self.devices, occupants: [Self.other: .instance(Self.claim(1))], wanted: [])),
            at: Self.at)
        #expect(running.holds.map(\.state) == [.attached])

        var gone = Desk(content, wanted: [])
        #expect(gone.work().contains(.freed([Self.other])))

        // Nobody knows yet what is wanted.
        #expect(Desk(content, wanted: nil).ledger.holds.map(\.state) == [.attached])
    }

    @Test("with the ledger lost, what VFIO still has is cleaned first, and what a domain has stays its own")
    func lost() {
        var devices = Self.devices
        devices[Self.other]?.isHostBound = true
        var ledger = DeviceLedger(nil)
        let effects = ledger.handle(
            .survey(
                DeviceOccupancy(
                    revision: 0, devices: devices, occupants: [Self.gpu: .instance(Self.claim(1))], wanted: nil)),
            at: Self.at)
        #expect(effects.contains(.reset(Self.audio, ticket: 1)))
        #expect(!effects.contains { if case .reset(Self.other, _) = $0 { true } else { false } })
        #expect(ledger.holds.first { $0.claim == Self.claim(1) }?.addresses == [Self.gpu])
    }

    @Test("a device that is pulled out is cleaned when it comes back")
    func unplugged() {
        var desk = attached(Self.claim(1), [Self.other])
        var devices = Self.devices
        devices[Self.other] = nil
        desk.survey(devices, wanted: [Self.claim(1)])
        desk.handle(.release(Self.claim(1)))
        #expect(desk.ledger.quarantine[Self.other]?.cause == .missing)
        #expect(desk.ledger.holds == [])
        desk.survey()
        #expect(desk.work().contains(.freed([Self.other])))
        #expect(desk.ledger.quarantine == [:])
    }

    @Test("a domain of somebody else's keeps a device until it ends; then it is cleaned")
    func stranger() {
        var desk = Desk()
        desk.survey(occupants: [Self.other: .stranger("vm7")])
        desk.handle(.claim(Self.claim(1), [Self.other]))
        #expect(
            desk.refusal == "device \(Self.other) is out of service: the domain vm7, which is not Roost's, has it")
        desk.survey()
        #expect(desk.work().contains(.freed([Self.other])))
    }

    @Test("what another's domain gives back is not touched where its host, or its owner, may use it by then")
    func givenBack() {
        for known in [
            DeviceOccupancy.Device(isHostBound: true), DeviceOccupancy.Device(isWithVFIO: true),
            DeviceOccupancy.Device(obstacle: "a disk below it is mounted", isHostBound: true),
        ] {
            var desk = Desk()
            desk.survey(occupants: [Self.other: .stranger("vm7")])
            _ = desk.work()
            desk.survey([Self.other: known])
            #expect(desk.ledger.quarantine.isEmpty && desk.ledger.holds.isEmpty)
            let touched = desk.work().contains { effect in
                switch effect {
                case .reset, .verify, .giveBack, .bind: true
                default: false
                }
            }
            #expect(!touched)
        }
    }

    @Test("what is kept is read as it was written, and what is damaged is not taken for nothing")
    func file() throws {
        try withFolder { root in
            let file = LedgerFile(data: root)
            #expect(try file.load() == .none)
            var content = attached(Self.claim(7), [Self.gpu, Self.audio]).ledger.content
            content.quarantine[Self.other] = DeviceQuarantine(
                cause: .failed, reason: "it hangs", claim: Self.claim(3), since: Self.at)
            try file.save(content)
            #expect(try file.load() == .content(content))
            let damaged = CheckedFile(path: root + "/devices")
            for text in ["{}", #"{"version":2,"holds":[],"quarantine":[]}"#, "garbage"] {
                try damaged.save(Array(text.utf8))
                #expect(try file.load() == .damaged(copy: root + "/devices"))
            }
            let files = FaultyFileSystem()
            files.fail(at: 1)
            #expect(throws: FileProblem.self) { try LedgerFile(data: root, files: files).save(content) }
        }
    }
}
