import ManagerModel
import ProtocolModel
import Testing

@testable import ManagerLifecycle

@Suite("Instance machine")
struct InstanceMachineTests {
    static let now = Timestamp(milliseconds: 1_790_000_000_000)

    static func instance() -> Instance {
        let flavor = Flavor(id: .generate(at: now), name: "s", vcpus: 1, ramMiB: 512, diskGiB: 1, createdAt: now)
        return Instance(
            id: .generate(at: now), name: "i", owner: .generate(at: now), account: "default", flavor: flavor,
            image: .generate(at: now), keyName: nil, sshKeys: [], userData: [], metadata: [:], hostName: "i",
            node: .generate(at: now), macAddress: "52:54:00:00:00:01", ipAddress: "10.0.0.2", createdAt: now)
    }

    static func seen(
        _ state: ObservedInstance.State, by machine: InstanceMachine, reason: String = "", final: Bool = false,
        started: Timestamp? = nil
    ) -> ObservedInstance {
        ObservedInstance(
            instance: machine.instance.id, epoch: machine.instance.epoch, generation: machine.instance.generation,
            powerCycle: machine.instance.powerCycle, state: state, reasonCode: reason, at: now,
            domainStartedAt: started,
            failureIsFinal: final)
    }

    @Test("goes from queued to active, and its operation succeeds once")
    func create() {
        var machine = InstanceMachine(Self.instance())
        _ = machine.observe(Self.seen(.preparing, by: machine), at: Self.now)
        #expect(machine.instance.status == .building)
        let ready = machine.observe(Self.seen(.running, by: machine), at: Self.now)
        #expect(machine.instance.status == .active)
        #expect(ready.contains(.succeed))
        #expect(machine.observe(Self.seen(.running, by: machine), at: Self.now).isEmpty)
    }

    @Test("stops, keeps its identity, starts with a new power cycle (CTL-03)")
    func cycle() throws {
        var machine = InstanceMachine(Self.instance())
        _ = machine.observe(Self.seen(.running, by: machine), at: Self.now)
        let before = machine.instance
        _ = try machine.stop(force: false, timeoutSeconds: 90, at: Self.now)
        #expect(machine.observe(Self.seen(.stopped, by: machine), at: Self.now).contains(.succeed))
        #expect(machine.instance.status == .stopped)
        _ = try machine.start(timeoutSeconds: 90, at: Self.now)
        #expect(machine.instance.id == before.id)
        #expect(machine.instance.ipAddress == before.ipAddress)
        #expect(machine.instance.powerCycle > before.powerCycle)
    }

    @Test(
        "started before it obeyed a drain's stop, which has no limit, a guest gets one: else a deaf one is asked for ever"
    )
    func startBeforeStopped() throws {
        var machine = InstanceMachine(Self.instance())
        _ = machine.observe(Self.seen(.running, by: machine), at: Self.now)
        _ = try machine.stop(force: false, timeoutSeconds: nil, byDrain: true, at: Self.now)
        _ = try machine.start(timeoutSeconds: 90, at: Self.now)
        #expect(machine.instance.stopTimeoutSeconds == 90)
        #expect(!machine.instance.force)
    }

    @Test("a guest that was ready stays so while a restarted agent asks it anew, but not one that was started again")
    func askedAnew() {
        var machine = InstanceMachine(Self.instance())
        let later = Self.now + .seconds(60)
        _ = machine.observe(Self.seen(.running, by: machine, started: Self.now), at: Self.now)
        #expect(machine.observe(Self.seen(.starting, by: machine, started: Self.now), at: later).isEmpty)
        let late = Self.seen(.failed, by: machine, reason: "boot_timeout", final: true, started: Self.now)
        #expect(machine.observe(late, at: later).isEmpty)
        #expect(machine.instance.status == .active)
        _ = machine.observe(Self.seen(.starting, by: machine, started: later), at: later)
        #expect(machine.instance.status == .building)
    }

    @Test("a report of an older wish or another placement changes nothing (P1)")
    func stale() throws {
        var machine = InstanceMachine(Self.instance())
        let old = Self.seen(.running, by: machine)
        _ = try machine.delete(at: Self.now)
        let before = machine.instance
        #expect(machine.observe(old, at: Self.now).isEmpty)
        var foreign = Self.seen(.deleted, by: machine)
        foreign.epoch = foreign.epoch.next
        #expect(machine.observe(foreign, at: Self.now).isEmpty)
        #expect(machine.instance == before)
    }

    @Test("releases its claim only when the host has nothing left of it")
    func delete() throws {
        var machine = InstanceMachine(Self.instance())
        _ = try machine.delete(at: Self.now)
        #expect(!machine.observe(Self.seen(.stopped, by: machine), at: Self.now).contains(.release))
        #expect(!machine.observe(Self.seen(.failed, by: machine), at: Self.now).contains(.release))
        #expect(machine.observe(Self.seen(.deleted, by: machine), at: Self.now).contains(.release))
        #expect(machine.instance.status == .deleted)
    }

    @Test("follows a guest that shut itself down, and does not for one that crashed")
    func shutdown() {
        var machine = InstanceMachine(Self.instance())
        _ = machine.observe(Self.seen(.running, by: machine), at: Self.now)
        var crashed = machine
        #expect(
            machine.observe(Self.seen(.stopped, by: machine, reason: "guest_shutdown"), at: Self.now).contains(.assign))
        #expect(machine.instance.desired == .stopped)
        #expect(machine.instance.status == .stopping, "its host has not kept the new wish yet")
        let effects = machine.observe(Self.seen(.stopped, by: machine, reason: "stopped"), at: Self.now)
        #expect(machine.instance.status == .stopped)
        #expect(machine.instance.statusReason == "the guest shut itself down")
        #expect(effects.contains(.event(kind: "instance.stopped", detail: "the guest shut itself down")))
        _ = crashed.observe(Self.seen(.stopped, by: crashed, reason: "crashed"), at: Self.now)
        #expect(crashed.instance.desired == .running)
    }

    @Test("a boot time-out is an error that a late answer mends")
    func bootTimeout() {
        var machine = InstanceMachine(Self.instance())
        let effects = machine.observe(Self.seen(.failed, by: machine, reason: "boot_timeout"), at: Self.now)
        #expect(machine.instance.status == .error)
        #expect(effects.contains { if case .fail("boot_timeout", _) = $0 { true } else { false } })
        _ = machine.observe(Self.seen(.running, by: machine), at: Self.now)
        #expect(machine.instance.status == .active)
    }
}
