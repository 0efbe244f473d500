@testable import AgentUsage
import Foundation
import ProtocolMessages
import ProtocolModel
import SwiftProtobuf
import Testing

@Suite("What a guest used, counted once")
struct SamplerTests {
    static let boot = BootID("01900000-0000-7000-8000-00000000b001")!
    static let instance = InstanceID("01900000-0000-7000-8000-000000000001")!
    static let midnight = CivilDay("2026-11-22")!.start

    struct Clock {
        var wall = SamplerTests.midnight - .seconds(3600)
        var uptime = Uptime(sinceStart: .seconds(5000))

        mutating func pass(_ duration: Duration, step: Duration = .zero) {
            wall = wall + duration + step
            uptime = uptime + duration
        }
    }

    static func reading(_ clock: Clock, startedAt: Timestamp, cycle: UInt64 = 1, cpu: UInt64) -> UsageReading {
        UsageReading(
            instance: instance, powerCycle: PowerCycle(cycle), startedAt: startedAt, vcpus: 2, memoryBytes: 1 << 30,
            counters: UsageCounters(cpuTimeNanoseconds: cpu, diskReadBytes: cpu / 10))
    }

    @Test("samples follow one another without gap or overlap, over midnight too")
    func chain() {
        var clock = Clock()
        var sampler = Sampler(state: nil, boot: Self.boot, at: clock.wall)
        clock.pass(.seconds(1))
        let start = clock.wall
        var samples: [Roost_V1_UsageSample] = []
        for step in 1...720 {
            clock.pass(.milliseconds(10_003))
            samples += sampler.sample(
                [Self.reading(clock, startedAt: start, cpu: UInt64(step) * 1000)], at: clock.wall, clock.uptime)
        }
        #expect(samples.count == 720)
        #expect(samples.first?.fromMs == start.milliseconds)
        #expect(samples.last?.toMs == clock.wall.milliseconds)
        for (before, after) in zip(samples, samples.dropFirst()) { #expect(before.toMs == after.fromMs) }
        #expect(samples.reduce(0) { $0 + $1.cpuTimeNs } == 720_000)
        #expect(samples.reduce(0) { $0 + ($1.toMs - $1.fromMs) } == 720 * 10_003)
    }

    @Test("a clock that is set forward before a new guest is looked at first does not lengthen its first part")
    func stepBeforeFirstLook() {
        for isRestarted in [false, true] {
            var clock = Clock()
            var sampler = Sampler(state: nil, boot: Self.boot, at: clock.wall)
            _ = sampler.sample([], at: clock.wall, clock.uptime)
            if isRestarted { sampler = Sampler(state: sampler.state, boot: Self.boot, at: clock.wall) }
            clock.pass(.seconds(3))
            let start = clock.wall
            clock.pass(.seconds(7), step: .seconds(900))
            let samples = sampler.sample([Self.reading(clock, startedAt: start, cpu: 1)], at: clock.wall, clock.uptime)
            #expect(samples.map { $0.toMs - $0.fromMs } == [7000])
        }
    }

    @Test("a new guest's first part is as long as it ran, however the clock was set before its first look")
    func stepsAroundStart() {
        for step in [Duration.seconds(900), .seconds(-900)] {
            for isBefore in [false, true] {
                var clock = Clock()
                var sampler = Sampler(state: nil, boot: Self.boot, at: clock.wall)
                _ = sampler.sample([], at: clock.wall, clock.uptime)
                clock.pass(.seconds(30), step: isBefore ? step : .zero)
                let start = clock.wall
                clock.pass(.seconds(7), step: isBefore ? .zero : step)
                let samples = sampler.sample(
                    [Self.reading(clock, startedAt: start, cpu: 1)], at: clock.wall, clock.uptime)
                #expect(samples.map { $0.toMs - $0.fromMs } == [7000])
                #expect(samples.first?.toMs == clock.wall.milliseconds)
            }
        }
    }

    @Test("two runs of an instance between two looks share no time, whatever the clock was set to")
    func secondRun() {
        var clock = Clock()
        var sampler = Sampler(state: nil, boot: Self.boot, at: clock.wall)
        _ = sampler.sample([], at: clock.wall, clock.uptime)
        let first = clock.wall
        clock.pass(.seconds(10))
        _ = sampler.sample([Self.reading(clock, startedAt: first, cpu: 1)], at: clock.wall, clock.uptime)
        clock.pass(.seconds(12))
        let end = sampler.stopped(Self.instance, at: clock.wall, clock.uptime)
        #expect(end.map { $0.toMs - $0.fromMs } == 12_000)
        // Set twice, so that nothing tells when the second run began.
        clock.pass(.seconds(1), step: .seconds(300))
        let second = clock.wall
        clock.pass(.seconds(17), step: .seconds(300))
        let samples = sampler.sample(
            [Self.reading(clock, startedAt: second, cycle: 2, cpu: 1)], at: clock.wall, clock.uptime)
        #expect(samples.map { $0.toMs - $0.fromMs } == [18_000], "no longer than since the end of the first")
    }

    @Test("a step of the wall clock changes no duration", arguments: [Duration.seconds(7200), .seconds(-7200)])
    func clockStep(step: Duration) {
        var clock = Clock()
        var sampler = Sampler(state: nil, boot: Self.boot, at: clock.wall)
        clock.pass(.seconds(1))
        let start = clock.wall
        var samples: [Roost_V1_UsageSample] = []
        for index in 1...6 {
            clock.pass(.seconds(10), step: index == 3 ? step : .zero)
            samples += sampler.sample(
                [Self.reading(clock, startedAt: start, cpu: UInt64(index))], at: clock.wall, clock.uptime)
        }
        #expect(samples.map { $0.toMs - $0.fromMs } == [Int64](repeating: 10_000, count: 6))
        #expect(samples.last?.toMs == clock.wall.milliseconds)
    }

    @Test("a guest that runs on is counted on by the next process")
    func restart() throws {
        var clock = Clock()
        var sampler = Sampler(state: nil, boot: Self.boot, at: clock.wall)
        clock.pass(.seconds(1))
        let start = clock.wall
        clock.pass(.seconds(10))
        let first = sampler.sample([Self.reading(clock, startedAt: start, cpu: 100)], at: clock.wall, clock.uptime)
        let kept = try JSONDecoder().decode(Sampler.State.self, from: JSONEncoder().encode(sampler.state))
        clock.pass(.seconds(95))
        var next = Sampler(state: kept, boot: Self.boot, at: clock.wall)
        let second = next.sample([Self.reading(clock, startedAt: start, cpu: 130)], at: clock.wall, clock.uptime)
        #expect(second.first?.fromMs == first.first?.toMs)
        #expect(second.first.map { $0.toMs - $0.fromMs } == 95_000)
        #expect(second.first?.cpuTimeNs == 30)
    }

    @Test("after a boot of the host nothing of the time before is counted")
    func reboot() throws {
        var clock = Clock()
        var sampler = Sampler(state: nil, boot: Self.boot, at: clock.wall)
        clock.pass(.seconds(1))
        let start = clock.wall
        clock.pass(.seconds(10))
        _ = sampler.sample([Self.reading(clock, startedAt: start, cpu: 100)], at: clock.wall, clock.uptime)
        let kept = sampler.state
        clock.wall = clock.wall + .seconds(300)
        clock.uptime = Uptime(sinceStart: .seconds(20))
        let other = BootID("01900000-0000-7000-8000-00000000b002")!
        var next = Sampler(state: kept, boot: other, at: clock.wall)
        clock.pass(.seconds(5))
        let again = clock.wall
        clock.pass(.seconds(10))
        let samples = next.sample([Self.reading(clock, startedAt: again, cpu: 5)], at: clock.wall, clock.uptime)
        #expect(samples.map { $0.toMs - $0.fromMs } == [10_000])
        #expect(samples.map(\.cpuTimeNs) == [5])
    }

    @Test("a lost state does not count an old run again")
    func lostState() {
        var clock = Clock()
        let start = clock.wall - .seconds(86_400)
        var sampler = Sampler(state: nil, boot: Self.boot, at: clock.wall)
        clock.pass(.seconds(10))
        #expect(
            sampler.sample([Self.reading(clock, startedAt: start, cpu: 9000)], at: clock.wall, clock.uptime).isEmpty)
        clock.pass(.seconds(10))
        let next = sampler.sample([Self.reading(clock, startedAt: start, cpu: 9007)], at: clock.wall, clock.uptime)
        #expect(next.map(\.cpuTimeNs) == [7])
        #expect(next.map { $0.toMs - $0.fromMs } == [10_000])
    }

    @Test("the end of a run is counted once, whatever look comes late; the next run is counted from its start")
    func stop() {
        var clock = Clock()
        var sampler = Sampler(state: nil, boot: Self.boot, at: clock.wall)
        clock.pass(.seconds(1))
        let start = clock.wall
        clock.pass(.seconds(10))
        let late = Self.reading(clock, startedAt: start, cpu: 100)
        _ = sampler.sample([late], at: clock.wall, clock.uptime)
        clock.pass(.seconds(4))
        let last = sampler.stopped(Self.instance, at: clock.wall, clock.uptime)
        #expect(last.map { $0.toMs - $0.fromMs } == 4000)
        #expect(last?.vcpus == 2)
        #expect(sampler.stopped(Self.instance, at: clock.wall, clock.uptime) == nil)
        clock.pass(.seconds(1))
        #expect(sampler.sample([late], at: clock.wall, clock.uptime).isEmpty)
        let again = clock.wall
        clock.pass(.seconds(6))
        let next = sampler.sample(
            [Self.reading(clock, startedAt: again, cpu: 3)], at: clock.wall, clock.uptime)
        #expect(next.map { $0.toMs - $0.fromMs } == [6000])
        #expect(next.map(\.cpuTimeNs) == [3])
    }

    @Test("a domain that the hypervisor leaves out for once is not counted twice")
    func leftOut() {
        var clock = Clock()
        var sampler = Sampler(state: nil, boot: Self.boot, at: clock.wall)
        clock.pass(.seconds(1))
        let start = clock.wall
        var total: Int64 = 0
        for step in 1...5 {
            clock.pass(.seconds(10))
            let readings = step == 3 ? [] : [Self.reading(clock, startedAt: start, cpu: UInt64(step))]
            total += sampler.sample(readings, at: clock.wall, clock.uptime).reduce(0) { $0 + $1.toMs - $1.fromMs }
        }
        #expect(total == 50_000)
    }

    @Test("the end of a run that no look saw is not the end of the one before it")
    func unseenRun() {
        var clock = Clock()
        var sampler = Sampler(state: nil, boot: Self.boot, at: clock.wall)
        let start = clock.wall
        clock.pass(.seconds(10))
        _ = sampler.sample([Self.reading(clock, startedAt: start, cpu: 1)], at: clock.wall, clock.uptime)
        // It crashed, and nobody was told.
        clock.pass(.seconds(10))
        _ = sampler.sample([], at: clock.wall, clock.uptime)
        clock.pass(.seconds(5))
        #expect(sampler.stopped(Self.instance, at: clock.wall, clock.uptime) == nil)
    }

    @Test("more domains than a batch holds wait their turn and lose nothing")
    func manyDomains() {
        var clock = Clock()
        var sampler = Sampler(state: nil, boot: Self.boot, limit: 3, at: clock.wall)
        clock.pass(.seconds(1))
        let start = clock.wall
        let ids = (0..<7).map { InstanceID("01900000-0000-7000-8000-00000000000\($0)")! }
        var counted: [Data: Int64] = [:]
        for _ in 1...21 {
            clock.pass(.seconds(10))
            let readings = ids.map {
                UsageReading(
                    instance: $0, powerCycle: PowerCycle(1), startedAt: start, vcpus: 1, memoryBytes: 1,
                    counters: UsageCounters())
            }
            let samples = sampler.sample(readings, at: clock.wall, clock.uptime)
            #expect(samples.count <= 3)
            for sample in samples { counted[sample.instanceID, default: 0] += sample.toMs - sample.fromMs }
        }
        #expect(counted.count == 7)
        for used in counted.values { #expect(used >= 180_000 && used <= 210_000) }
    }
}
