import ProtocolModel
import Testing

@testable import AgentDevices

@Suite("the desk of devices")
struct DeviceDeskTests {
    static let gpu = DeviceLedgerTests.gpu
    static let audio = DeviceLedgerTests.audio
    static let other = DeviceLedgerTests.other

    static func surveyed(
        _ address: String, class classCode: UInt32 = 0x030200, with companions: [String] = [], driver: String? = nil,
        reasons: [UnusableReason] = []
    ) -> SurveyedDevice {
        SurveyedDevice(
            offer: DeviceOffer(
                device: PCIDevice(
                    address: address, vendor: 0x10DE, product: 0x1DB6, subsystemVendor: 0, subsystemProduct: 0,
                    classCode: classCode, iommuGroup: 1, numaNode: 1, driver: driver),
                isOfInterest: classCode >> 16 == 3, groupMembers: companions, companions: companions, reset: .function,
                reasons: reasons), names: DeviceNames())
    }

    static let bus = [
        surveyed(gpu, with: [audio], driver: "nouveau"),
        surveyed(audio, class: 0x040300, with: [gpu], reasons: [.otherClass(0x040300)]), surveyed(other),
    ]

    /// A desk with a clock, whose effects are at hand.
    struct Stand {
        var desk: DeviceDesk
        var uptime = Uptime(sinceStart: .zero)
        var effects: [DeviceDesk.Effect] = []
        var all: [DeviceDesk.Effect] = []
        var devices = DeviceDeskTests.bus
        var uses: [DeviceUse] = []
        var requests: UInt64 = 0

        init(_ content: LedgerContent = LedgerContent()) { desk = DeviceDesk(DeviceLedger(content)) }

        mutating func handle(_ event: DeviceDesk.Event) {
            effects = desk.handle(event, at: Moment(timestamp: DeviceLedgerTests.at, uptime: uptime))
            all += effects
        }

        mutating func pass(_ duration: Duration) {
            uptime = uptime + duration
            handle(.tick)
        }

        var look: DeviceDesk.LookToken? {
            for case .look(let token, _) in effects { return token }
            return nil
        }

        mutating func want(_ claim: DeviceClaim, _ addresses: [String]) {
            requests += 1
            handle(.wanted(DeviceDesk.RequestID(requests), claim, addresses))
        }

        /// Answers everything that is asked until nothing is.
        mutating func work(hanging: (DeviceLedger.Effect) -> Bool = { _ in false }) {
            var queue = effects
            while !queue.isEmpty {
                switch queue.removeFirst() {
                case .look(let token, _): handle(.looked(token, DeviceLook(devices: devices, uses: uses)))
                case .perform(let effect) where hanging(effect): continue
                case .perform(.save(_, let revision)): handle(.answered(.saved(revision: revision)))
                case .perform(.bind(let claim, _)): handle(.answered(.bound(claim)))
                case .perform(.reset(let address, let ticket)):
                    handle(.answered(.reset(address, ticket: ticket, failure: nil)))
                case .perform(.verify(let address, let ticket)):
                    handle(.answered(.verified(address, ticket: ticket, failure: nil)))
                case .perform(.giveBack(let address, let ticket)):
                    handle(.answered(.returned(address, ticket: ticket, failure: nil)))
                default: continue
                }
                queue += effects
            }
        }

        /// A guest that runs with devices.
        mutating func run(_ claim: DeviceClaim, _ addresses: [String]) {
            want(claim, addresses)
            work()
            uses.append(DeviceUse(.instance(claim), desk.content.holds.first { $0.claim == claim }?.addresses ?? []))
            handle(.startEnded(claim, started: true))
            work()
        }

        var refusal: DeviceRefusal? {
            for case .refuse(_, let refusal) in all.reversed() { return refusal }
            return nil
        }

        var granted: GrantedDevices? {
            for case .grant(_, let granted) in all.reversed() { return granted }
            return nil
        }

        /// What was asked of devices, in order.
        var words: [String] {
            all.compactMap { effect in
                switch effect {
                case .look: "look"
                case .perform(.save): "save"
                case .perform(.bind(_, let addresses)): "bind \(addresses.joined(separator: " "))"
                case .perform(.reset(let address, _)): "reset \(address)"
                case .perform(.verify(let address, _)): "verify \(address)"
                case .perform(.giveBack(let address, _)): "return \(address)"
                case .grant: "grant"
                case .refuse: "refuse"
                case .released: "released"
                default: nil
                }
            }
        }
    }

    private func stand() -> Stand {
        var stand = Stand()
        stand.handle(.began)
        stand.work()
        stand.all = []
        return stand
    }

    @Test("a start gets its devices after a look, once the claim is on the disk and all of the group are bound")
    func start() {
        var stand = stand()
        stand.want(DeviceLedgerTests.claim(1), [Self.gpu])
        stand.work()
        #expect(stand.words == ["look", "save", "bind \(Self.gpu) \(Self.audio)", "grant"])
        #expect(stand.granted == GrantedDevices(addresses: [Self.gpu, Self.audio], numaNode: 1))
    }

    @Test("a look that began before a start asked says nothing about it")
    func oldLook() throws {
        var stand = stand()
        stand.handle(.lookAgain)
        let old = try #require(stand.look)
        stand.want(DeviceLedgerTests.claim(1), [Self.other])
        stand.handle(.looked(old, DeviceLook(devices: Self.bus)))
        #expect(!stand.words.contains("save"))
        stand.work()
        #expect(stand.words.last == "grant")
    }

    @Test("a second claim is refused, with whose the device is")
    func conflict() {
        var stand = stand()
        stand.run(DeviceLedgerTests.claim(1), [Self.other])
        stand.want(DeviceLedgerTests.claim(2), [Self.other])
        stand.work()
        #expect(
            stand.refusal
                == .lasting("device \(Self.other) belongs to \(DeviceLedgerTests.claim(1))"))
        #expect(stand.desk.content.holds.map(\.claim) == [DeviceLedgerTests.claim(1)])
    }

    @Test("whatever ended a guest, its devices are reset, verified and given back")
    func ended() {
        var stand = stand()
        stand.run(DeviceLedgerTests.claim(1), [Self.gpu])
        stand.all = []
        stand.uses = []
        stand.handle(.lookAgain)
        stand.work()
        #expect(
            stand.words.filter { $0 != "save" } == [
                "look", "reset \(Self.gpu)", "reset \(Self.audio)", "verify \(Self.gpu)", "verify \(Self.audio)",
                "return \(Self.gpu)", "return \(Self.audio)",
            ])
        #expect(stand.desk.content == LedgerContent())
    }

    @Test("who removed a domain hears when its devices are free, and who needs them next waits for that")
    func handover() {
        var stand = stand()
        stand.run(DeviceLedgerTests.claim(1), [Self.other])
        stand.all = []
        stand.uses = []
        stand.handle(.releaseWanted(DeviceDesk.RequestID(90), DeviceLedgerTests.claim(1).instance))
        let removal = stand.effects
        stand.want(DeviceLedgerTests.claim(2), [Self.other])
        stand.work()
        #expect(!stand.words.contains("grant") && !stand.words.contains("refuse"))
        stand.effects = removal
        stand.work()
        let words = stand.words
        #expect(words.firstIndex(of: "released")! < words.firstIndex(of: "grant")!)
        #expect(words.firstIndex(of: "return \(Self.other)")! < words.firstIndex(of: "released")!)
    }

    @Test("a start that failed keeps its devices until a look shows that no domain has them")
    func failedStart() throws {
        var stand = stand()
        stand.want(DeviceLedgerTests.claim(1), [Self.other])
        stand.work()
        stand.handle(.startEnded(DeviceLedgerTests.claim(1), started: false))
        #expect(!stand.words.contains { $0.hasPrefix("reset") })
        var runs = stand
        runs.uses = [DeviceUse(.instance(DeviceLedgerTests.claim(1)), [Self.other])]
        runs.work()
        #expect(runs.desk.content.holds.first?.state == .attached)
        stand.work()
        #expect(stand.desk.content == LedgerContent())
    }

    @Test("a start under way is not taken for one that came to nothing")
    func underWay() throws {
        var stand = stand()
        stand.want(DeviceLedgerTests.claim(1), [Self.other])
        stand.work()
        // Granted; libvirt has not begun.
        stand.handle(.lookAgain)
        let token = try #require(stand.look)
        stand.handle(.startEnded(DeviceLedgerTests.claim(1), started: true))
        stand.handle(.looked(token, DeviceLook(devices: Self.bus)))
        stand.uses = [DeviceUse(.instance(DeviceLedgerTests.claim(1)), [Self.other])]
        stand.work()
        #expect(!stand.words.contains { $0.hasPrefix("reset") })
        #expect(stand.desk.content.holds.first?.state == .attached)
    }

    @Test("a device whose reset hangs is out of service when its time is up, and its late answer is nobody's")
    func hanging() {
        var stand = stand()
        stand.run(DeviceLedgerTests.claim(1), [Self.other])
        stand.uses = []
        stand.handle(.releaseWanted(DeviceDesk.RequestID(90), DeviceLedgerTests.claim(1).instance))
        stand.work { if case .reset = $0 { true } else { false } }
        #expect(!stand.words.contains("released"))
        #expect(stand.desk.nextWake != nil)
        stand.pass(.seconds(91))
        #expect(stand.effects.contains(.abandon(.reset(Self.other, 1))))
        stand.work()
        #expect(stand.words.contains("released"))
        #expect(stand.desk.content.quarantine[Self.other]?.reason == "its reset did not end within 90.0 seconds")
        stand.handle(.answered(.reset(Self.other, ticket: 1, failure: nil)))
        #expect(stand.desk.content.quarantine[Self.other] != nil)
        stand.want(DeviceLedgerTests.claim(2), [Self.other])
        stand.work()
        #expect(stand.refusal?.isLasting == true)
        stand.handle(.readmit(Self.other))
        stand.work()
        #expect(stand.desk.content == LedgerContent())
    }

    @Test("binding that hangs refuses the start, and cleans what was half bound")
    func hangingBind() {
        var stand = stand()
        stand.want(DeviceLedgerTests.claim(1), [Self.other])
        stand.work { if case .bind = $0 { true } else { false } }
        stand.pass(.seconds(61))
        stand.work()
        #expect(stand.refusal?.isLasting == false)
        #expect(stand.words.suffix(4).contains("return \(Self.other)"))
        #expect(stand.desk.content == LedgerContent())
    }

    @Test("without a look nothing is given away and nothing is cleaned")
    func blind() throws {
        var stand = stand()
        stand.run(DeviceLedgerTests.claim(1), [Self.gpu])
        stand.all = []
        stand.want(DeviceLedgerTests.claim(2), [Self.other])
        stand.handle(.lookFailed(try #require(stand.look), reason: "libvirt does not answer"))
        #expect(
            stand.refusal == .passing("the devices of this host cannot be looked at: libvirt does not answer"))
        stand.pass(.seconds(5))
        #expect(stand.look != nil)
        #expect(!stand.words.contains { $0.hasPrefix("reset") })
    }

    @Test("after a restart what a domain has stays its own, and the rest is cleaned")
    func restart() {
        var stand = stand()
        stand.run(DeviceLedgerTests.claim(1), [Self.gpu])
        stand.want(DeviceLedgerTests.claim(2), [Self.other])
        stand.work()
        var next = Stand(stand.desk.content)
        next.uses = stand.uses
        next.handle(.began)
        next.work()
        #expect(next.desk.content.holds.map(\.claim) == [DeviceLedgerTests.claim(1)])
        #expect(next.words.contains("reset \(Self.other)") && !next.words.contains("reset \(Self.gpu)"))
    }

    @Test("what an operator gave to VFIO before stays with it")
    func kept() {
        var stand = stand()
        stand.devices[2] = Self.surveyed(Self.other, driver: "vfio-pci")
        stand.run(DeviceLedgerTests.claim(1), [Self.other])
        stand.uses = []
        stand.handle(.lookAgain)
        stand.work()
        #expect(stand.words.contains("verify \(Self.other)") && !stand.words.contains("return \(Self.other)"))
        #expect(stand.desk.content == LedgerContent())
    }

    @Test(
        "what was cleaned is the host's again for the next claim, whatever a look from before says of its driver",
        arguments: [false, true])
    func staleDriver(isLookLate: Bool) throws {
        var stand = stand()
        stand.run(DeviceLedgerTests.claim(1), [Self.other])
        // While the guest runs, and while its device is made ready, VFIO has it.
        stand.devices[2] = Self.surveyed(Self.other, driver: "vfio-pci")
        stand.uses = []
        stand.handle(.lookAgain)
        stand.work { if case .giveBack = $0 { true } else { false } }
        stand.want(DeviceLedgerTests.claim(2), [Self.other])
        let seen = DeviceDesk.Event.looked(try #require(stand.look), DeviceLook(devices: stand.devices))
        let returned = DeviceDesk.Event.answered(.returned(Self.other, ticket: 1, failure: nil))
        stand.handle(isLookLate ? returned : seen)
        stand.handle(isLookLate ? seen : returned)
        #expect(stand.desk.content.holds.map(\.claim) == [DeviceLedgerTests.claim(2)])
        #expect(stand.desk.content.holds.first?.kept == [])
    }

    @Test("the manager is told of what comes, goes and changes hands, and of nothing else")
    func changes() {
        var stand = stand()
        func isTold() -> Bool { stand.all.contains(.changed) }
        stand.pass(.seconds(31))
        stand.work()
        #expect(stand.words == ["look"] && !isTold())
        stand.devices.removeLast()
        stand.pass(.seconds(31))
        stand.work()
        #expect(isTold())
        stand.all = []
        stand.run(DeviceLedgerTests.claim(1), [Self.gpu])
        #expect(isTold())
    }
}
